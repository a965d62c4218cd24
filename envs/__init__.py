"""PACKAGE envs: Gymnasium environments. Import as ``aime_agent.envs``.

| file | what |
|---|---|
| `suite` | names and ids of the DeepMind Control Suite's tasks; light |
| `dm_control` | one task of the suite as a `gymnasium.Env` |
| `rendering` | pictures of a physics at three render qualities |
| `segmentation` | which body every pixel shows: ground truth beside the frames |
| `gl` | choice of the OpenGL back-end, and the guard against forks |
| `episodes` | one seed per episode; replay of an unfinished episode |
| `latent`, `latent_vector` | the learned world as an environment, single and batched |
| `latent_config` | its settings |
| `latent_starts`, `latent_sources` | beliefs that dreams begin with, and where they come from |
| `latent_noise`, `latent_render` | what chance decides in a dream; its pictures |
| `symbolic`, `symbolic_observation` | a law written node by node, and what a policy sees of it |
| `dmc_laws` | rows of a law measured in the simulator |
| `navigation`, `navigation_picture` | a point that looks for a hidden goal: tasks to meta-learn |
| `meta_dmc` | the suite's bodies with hidden rewards or dynamics: tasks to meta-learn |
| `meta_tasks`, `meta_rewards`, `meta_worlds` | its families and splits, rewards, changes of the model |
| `registration` | ids beyond the suite's |
| `foreign` | other people's pixel environments, brought to the same form |
| `make` | `make_env`, `make_vector` |
| `belief_spaces` | what a policy observes of a belief, alike in dreams and in filtered reality |
| `beliefs` | what a frozen world model believes of the frames, instead of the frames |
| `belief_tracker` | the belief of each of N environments, under these wrappers |
| `sb3_vec` | any Gymnasium vector environment as a Stable-Baselines3 `VecEnv` |
| `diagnostics` | what ``aime-agent doctor`` tells about this machine |

Nothing heavy is imported before it is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if not __name__.startswith("aime_agent."):
    raise ImportError("import aime_agent.envs, not envs (a second copy would register ids twice)")

if TYPE_CHECKING:
    from aime_agent.envs.beliefs import BeliefObservation as BeliefObservation
    from aime_agent.envs.beliefs import BeliefVecEnv as BeliefVecEnv
    from aime_agent.envs.beliefs import BeliefVector as BeliefVector
    from aime_agent.envs.diagnostics import environment_report as environment_report
    from aime_agent.envs.foreign import adapt as adapt
    from aime_agent.envs.gl import choose_backend as choose_backend
    from aime_agent.envs.latent import LatentWorldEnv as LatentWorldEnv
    from aime_agent.envs.latent_vector import LatentVectorEnv as LatentVectorEnv
    from aime_agent.envs.make import fast_forward_vector as fast_forward_vector
    from aime_agent.envs.make import make_env as make_env
    from aime_agent.envs.make import make_vector as make_vector
    from aime_agent.envs.meta_dmc import MetaDMCEnv as MetaDMCEnv
    from aime_agent.envs.meta_dmc import MetaTasks as MetaTasks
    from aime_agent.envs.meta_tasks import MetaTask as MetaTask
    from aime_agent.envs.navigation import Navigation2DEnv as Navigation2DEnv
    from aime_agent.envs.navigation import Navigation2DTask as Navigation2DTask
    from aime_agent.envs.navigation import NavigationTasks as NavigationTasks
    from aime_agent.envs.sb3_vec import VectorToSB3 as VectorToSB3
    from aime_agent.envs.segmentation import Segmented as Segmented
    from aime_agent.envs.suite import task_id as task_id
    from aime_agent.envs.symbolic import SymbolicDiscoveryEnv as SymbolicDiscoveryEnv

_PUBLIC = {
    "SymbolicDiscoveryEnv": "aime_agent.envs.symbolic",
    "MetaDMCEnv": "aime_agent.envs.meta_dmc",
    "MetaTask": "aime_agent.envs.meta_tasks",
    "MetaTasks": "aime_agent.envs.meta_dmc",
    "Navigation2DEnv": "aime_agent.envs.navigation",
    "Navigation2DTask": "aime_agent.envs.navigation",
    "NavigationTasks": "aime_agent.envs.navigation",
    "LatentVectorEnv": "aime_agent.envs.latent_vector",
    "LatentWorldEnv": "aime_agent.envs.latent",
    "Segmented": "aime_agent.envs.segmentation",
    "BeliefObservation": "aime_agent.envs.beliefs",
    "BeliefVecEnv": "aime_agent.envs.beliefs",
    "BeliefVector": "aime_agent.envs.beliefs",
    "VectorToSB3": "aime_agent.envs.sb3_vec",
    "adapt": "aime_agent.envs.foreign",
    "choose_backend": "aime_agent.envs.gl",
    "environment_report": "aime_agent.envs.diagnostics",
    "fast_forward_vector": "aime_agent.envs.make",
    "make_env": "aime_agent.envs.make",
    "make_vector": "aime_agent.envs.make",
    "task_id": "aime_agent.envs.suite",
}


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'aime_agent.envs' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
