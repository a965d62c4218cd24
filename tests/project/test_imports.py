"""Every module can be the first one imported, and the root imports nothing heavy."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

# Third-party packages stay loaded; ours are forgotten between two imports.
IMPORT_EACH_FIRST = """
import importlib, json, sys, traceback, warnings
warnings.simplefilter("ignore")
failed = {}
for name in json.load(sys.stdin):
    for loaded in [m for m in sys.modules if m.split(".")[0] == "aime_agent"]:
        del sys.modules[loaded]
    try:
        importlib.import_module(name)
    except Exception:
        failed[name] = traceback.format_exc(limit=-2)
print(json.dumps(failed))
"""


def module_names():
    folder = ROOT / "aime_agent"
    linked = [*folder.glob("envs/**/*.py"), *folder.glob("policies/**/*.py")]
    for path in sorted({*folder.rglob("*.py"), *linked}):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def run_python(code, stdin=""):
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT, input=stdin, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_module_can_be_imported_first():
    names = [n for n in module_names() if not n.endswith("__main__")]
    assert {"aime_agent", "aime_agent.envs", "aime_agent.policies"} <= set(names)
    failed = json.loads(run_python(IMPORT_EACH_FIRST, json.dumps(names)).splitlines()[-1])
    assert failed == {}


def test_root_imports_nothing_heavy():
    heavy = "{'torch', 'mujoco', 'dm_control', 'stable_baselines3', 'imageio'}"
    out = run_python(f"import sys, aime_agent; print(sorted({heavy} & set(sys.modules)))")
    assert out == "[]\n"


def test_folders_refuse_to_be_imported_by_their_plain_names():
    for name in ("envs", "policies"):
        code = f"""
try:
    import {name}
except ImportError as error:
    print(error)
"""
        assert run_python(code).startswith(f"import aime_agent.{name}, not {name}")
