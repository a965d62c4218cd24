"""PACKAGE policies: Stable-Baselines3 extractors and policies, and the meta-policy. Import as ``aime_agent.policies``.

| file | what |
|---|---|
| `extractors` | features of beliefs, and of slots as a set |
| `perception` | what a world model perceives in stacked frames, frozen or fine-tuned |
| `slots` | policies over slots for PPO, SAC and TD3 |
| `selection` | critics with a value per slot, and the choice among proposals |
| `tokens` | what a task can attend over: nodes, slots, parts of a state |
| `task_encoder` | a task, told from trajectories |
| `meta_policy` | the policy whose task embedding asks where to look |
| `transfer` | attention of one policy for another |
| `task_query` | the same attention for Stable-Baselines3, and for slots |
| `saving` | policies on disk as safetensors and JSON; nothing is unpickled |

Nothing heavy is imported before it is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if not __name__.startswith("aime_agent."):
    raise ImportError("import aime_agent.policies, not policies (a second copy would differ)")

if TYPE_CHECKING:
    from aime_agent.policies.extractors import BeliefExtractor as BeliefExtractor
    from aime_agent.policies.extractors import SlotExtractor as SlotExtractor
    from aime_agent.policies.meta_policy import (
        EnhancedMetaLearningPolicy as EnhancedMetaLearningPolicy,
    )
    from aime_agent.policies.perception import PerceptionExtractor as PerceptionExtractor
    from aime_agent.policies.perception import perception_kwargs as perception_kwargs
    from aime_agent.policies.saving import load_policy as load_policy
    from aime_agent.policies.saving import save_policy as save_policy
    from aime_agent.policies.slots import SlotActorCriticPolicy as SlotActorCriticPolicy
    from aime_agent.policies.slots import SlotSACPolicy as SlotSACPolicy
    from aime_agent.policies.slots import SlotTD3Policy as SlotTD3Policy
    from aime_agent.policies.task_query import SlotMetaPolicy as SlotMetaPolicy
    from aime_agent.policies.task_query import TaskQueryExtractor as TaskQueryExtractor
    from aime_agent.policies.transfer import transfer_attention as transfer_attention
    from aime_agent.world_model.frozen import freeze as freeze

_PUBLIC = {
    "BeliefExtractor": "aime_agent.policies.extractors",
    "EnhancedMetaLearningPolicy": "aime_agent.policies.meta_policy",
    "PerceptionExtractor": "aime_agent.policies.perception",
    "SlotActorCriticPolicy": "aime_agent.policies.slots",
    "SlotExtractor": "aime_agent.policies.extractors",
    "SlotMetaPolicy": "aime_agent.policies.task_query",
    "SlotSACPolicy": "aime_agent.policies.slots",
    "SlotTD3Policy": "aime_agent.policies.slots",
    "TaskQueryExtractor": "aime_agent.policies.task_query",
    "freeze": "aime_agent.world_model.frozen",
    "load_policy": "aime_agent.policies.saving",
    "perception_kwargs": "aime_agent.policies.perception",
    "save_policy": "aime_agent.policies.saving",
    "transfer_attention": "aime_agent.policies.transfer",
}


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'aime_agent.policies' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
