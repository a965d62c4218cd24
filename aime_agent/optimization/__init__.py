"""PILLAR 5: losses by task, and the balance of their gradients."""

from aime_agent.optimization.balancer import Balancer, PlainSum, make_balancer
from aime_agent.optimization.ema import EMA
from aime_agent.optimization.loss_aggregator import (
    TASKS,
    TERMS,
    ELBOLoss,
    LossAggregator,
    LossWeights,
    PerceiverLoss,
    PredictiveLoss,
    TaskLosses,
    combine,
)
from aime_agent.optimization.optim import ClippedAdam, make_optimizer
from aime_agent.optimization.rgb import RGB
from aime_agent.optimization.rotation import RGBConfig
from aime_agent.optimization.schedules import ScheduleConfig

__all__ = [
    "EMA",
    "RGB",
    "TASKS",
    "TERMS",
    "Balancer",
    "ClippedAdam",
    "ELBOLoss",
    "LossAggregator",
    "LossWeights",
    "PerceiverLoss",
    "PlainSum",
    "PredictiveLoss",
    "RGBConfig",
    "ScheduleConfig",
    "TaskLosses",
    "combine",
    "make_balancer",
    "make_optimizer",
]
