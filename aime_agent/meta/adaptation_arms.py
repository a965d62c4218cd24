"""Arms of the adaptation benchmark; each differs from ``maml`` in one thing.

| arm | what is different |
|---|---|
| ``maml`` | nothing: gradients through adaptation, first order on the CPU |
| ``second-order`` | also through the inner gradients |
| ``fine-tuned`` | trained on all tasks without adaptation, on as many episodes; adapts afterwards |
| ``scratch`` | not trained |
| ``heads``, ``context`` | only the heads, or only the context vector, adapt |
| ``gating``, ``bilinear``, ``film`` | another fusion |
| ``single-key`` | the tokens' mean is the only key, as in the seed's sketch: pooling |
| ``flat`` | no hierarchical encoding of the task |
| ``no-context`` | the policy is told nothing of the task |
| ``no-rewards`` | it is told everything but rewards |
| ``spread``, ``free``, ``focused`` | attention entropy weighted −0.01, 0, 0.1 in place of 0.01 |
| ``no-units`` | laws need not fit units |
"""

from typing import Any

from aime_agent.errors import ConfigError, nearest
from aime_agent.meta.config import EnhancedMetaLearningConfig
from aime_agent.symbolic.catalogue import SUITES

ARMS: dict[str, dict[str, Any]] = {
    "maml": {},
    "second-order": {"second_order": True},
    "fine-tuned": {"adaptation_steps": 0},
    "scratch": {},
    "heads": {"inner_params": "heads"},
    "context": {"inner_params": "context"},
    "gating": {"fusion_type": "gating"},
    "bilinear": {"fusion_type": "bilinear"},
    "film": {"fusion_type": "film"},
    "single-key": {"attention": "single_key"},
    "flat": {"use_hierarchical_encoding": False},
    "no-context": {"context_episodes": 0},
    "no-rewards": {"context_rewards": False},
    "spread": {"attention_entropy_weight": -0.01},
    "free": {"attention_entropy_weight": 0.0},
    "focused": {"attention_entropy_weight": 0.1},
    "no-units": {},
}
MAIN = ("maml", "fine-tuned", "scratch")


def check_arms(names: tuple[str, ...], family: str) -> None:
    """Refuses arms that do not exist, or mean nothing for a family.

    Raises:
        ConfigError: naming the arm, and the nearest one.
    """
    for name in names:
        if name not in ARMS:
            raise ConfigError(f"no arm is named {name!r}. {nearest(name, ARMS)}")
    if "no-units" in names and family not in SUITES:
        raise ConfigError(f"the arm no-units is for laws ({', '.join(SUITES)}), not for {family}")


def training_of(arm: str, base: EnhancedMetaLearningConfig) -> dict[str, Any]:
    """Returns what an arm changes in training; without adaptation all episodes are the query's."""
    changes = dict(ARMS[arm])
    if arm == "fine-tuned":
        support = base.adaptation_steps * base.support_episodes
        changes["query_episodes"] = base.query_episodes + support
    return changes
