"""Gymnasium ids beyond the control suite's, by string entry points: nothing heavy is imported."""

import gymnasium

from aime_agent.envs.suite import NAMESPACE, register_suite

LATENT_WORLD = f"{NAMESPACE}/LatentWorld-v0"
SYMBOLIC_DISCOVERY = f"{NAMESPACE}/SymbolicDiscovery-v0"


def register_all() -> None:
    """Registers every id of this package; does nothing a second time."""
    register_suite()
    if LATENT_WORLD not in gymnasium.registry:
        gymnasium.register(
            id=LATENT_WORLD,
            entry_point="aime_agent.envs.latent:LatentWorldEnv",
            vector_entry_point="aime_agent.envs.latent_vector:LatentVectorEnv",
            order_enforce=False,
            disable_env_checker=True,
        )
    if SYMBOLIC_DISCOVERY not in gymnasium.registry:
        gymnasium.register(
            id=SYMBOLIC_DISCOVERY,
            entry_point="aime_agent.envs.symbolic:SymbolicDiscoveryEnv",
            order_enforce=False,
            disable_env_checker=True,
        )
