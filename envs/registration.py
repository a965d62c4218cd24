"""Gymnasium ids beyond the control suite's, by string entry points: nothing heavy is imported."""

from typing import Any

import gymnasium

from aime_agent.envs.suite import NAMESPACE, register_suite

_ENTRY_POINTS: dict[str, dict[str, Any]] = {
    f"{NAMESPACE}/LatentWorld-v0": {
        "entry_point": "aime_agent.envs.latent:LatentWorldEnv",
        "vector_entry_point": "aime_agent.envs.latent_vector:LatentVectorEnv",
    },
    f"{NAMESPACE}/SymbolicDiscovery-v0": {
        "entry_point": "aime_agent.envs.symbolic:SymbolicDiscoveryEnv"
    },
    f"{NAMESPACE}/Navigation2D-v0": {"entry_point": "aime_agent.envs.navigation:Navigation2DEnv"},
    f"{NAMESPACE}/MetaDMC-v0": {"entry_point": "aime_agent.envs.meta_dmc:MetaDMCEnv"},
}


def register_all() -> None:
    """Registers every id of this package; does nothing a second time."""
    register_suite()
    for name, entry_points in _ENTRY_POINTS.items():
        if name not in gymnasium.registry:
            gymnasium.register(
                id=name, order_enforce=False, disable_env_checker=True, **entry_points
            )
