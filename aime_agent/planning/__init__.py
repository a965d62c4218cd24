"""Planning in a world model: one loop, two weightings.

    config.py     PlannerConfig
    weighting.py  elites (CEM), exponentiated returns (MPPI), weighted mean and deviation
    planner.py    Planner: proposals → imagined rollouts → scores → weights → proposals

Plans are made from beliefs; `aime_agent.policies.planner.PlannerPolicy` makes a policy of them.
"""

from aime_agent.planning.config import PlannerConfig
from aime_agent.planning.planner import Guides, Plan, Planner, PlanNoise, draw_noise, shift

__all__ = ["Guides", "Plan", "PlanNoise", "Planner", "PlannerConfig", "draw_noise", "shift"]
