"""The third seed's import paths, ``janus.…``, served by this package.

>>> from aime_agent.meta.janus import install, uninstall
>>> install()
>>> from janus.physics.data.generators import PhysicsTaskDistribution
>>> PhysicsTaskDistribution.__module__
'aime_agent.symbolic.distribution'
>>> uninstall()

Nothing is put in the place of a `janus` that is installed (PyPI has another package of that name).
"""

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from aime_agent.errors import ConfigError

MODULES: dict[str, dict[str, str]] = {
    "janus.ml.networks.attention_meta_policy": {
        "EnhancedMetaLearningPolicy": "aime_agent.policies.meta_policy"
    },
    "janus.ml.training.enhanced_meta_trainer": {
        "EnhancedMAMLTrainer": "aime_agent.meta.trainer",
        "EnhancedMetaLearningConfig": "aime_agent.meta.config",
    },
    "janus.physics.data.generators": {
        "PhysicsTaskDistribution": "aime_agent.symbolic.distribution"
    },
}
"""Module → name → where it is defined here."""
_OURS = "Names of the third seed, served by aime_agent.meta.janus."


def install() -> None:
    """Makes the seed's imports work in this process; a second call changes nothing.

    Raises:
        ConfigError: another package of that name is installed or imported.
    """
    if _is_ours(sys.modules.get("janus")):
        return
    if "janus" in sys.modules or find_spec("janus") is not None:
        raise ConfigError(
            "install needs the name 'janus' to be free, found another package of that name: "
            "import from aime_agent.meta and aime_agent.policies instead"
        )
    for path, names in MODULES.items():
        module = _make(path)
        for name, source in names.items():
            setattr(module, name, getattr(import_module(source), name))


def uninstall() -> None:
    """Takes them away again; a foreign `janus` stays."""
    if _is_ours(sys.modules.get("janus")):
        for name in [n for n in sys.modules if n.split(".")[0] == "janus"]:
            del sys.modules[name]


def _make(path: str) -> ModuleType:
    """Returns a module; it and the packages above it are made where they are missing."""
    if path not in sys.modules:
        module = ModuleType(path, _OURS)
        if path not in MODULES:
            module.__path__ = []
        sys.modules[path] = module
        above, _, name = path.rpartition(".")
        if above:
            setattr(_make(above), name, module)
    return sys.modules[path]


def _is_ours(module: ModuleType | None) -> bool:
    return module is not None and module.__doc__ == _OURS
