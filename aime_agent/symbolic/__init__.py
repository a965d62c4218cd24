"""PACKAGE symbolic: laws as expression trees; knows no model and no environment.

| file | what |
|---|---|
| `vocabulary` | tokens with ids that never change; libraries of them |
| `tree` | prefix lists, parents and depths, notation, drawing as text |
| `parse` | formulas as text to tokens of a library |
| `evaluate` | values on data, nothing protected |
| `units`, `unit_automaton` | exponents of base units; which tokens can still reach the target's |
| `grammar` | what may come next in a draft, so that every draft ends complete |
| `constants`, `score` | fitted and recognised numbers; error and reward |
| `to_sympy`, `sympy_worker`, `equivalence` | is it the same law? by algebra, with a time limit |
| `samples`, `tasks` | rows of data; a law, its variables and its rows |
| `laws`, `nguyen`, `catalogue` | the suites, and tasks by name |
| `generated`, `distribution` | made-up tasks to train on; tasks to draw from |
"""

from aime_agent.symbolic.catalogue import find_suite, find_task
from aime_agent.symbolic.distribution import PhysicsTaskDistribution
from aime_agent.symbolic.parse import parse
from aime_agent.symbolic.samples import Samples
from aime_agent.symbolic.tasks import PhysicsTask, Variable, task_from_data
from aime_agent.symbolic.tree import Expression, infix

__all__ = [
    "Expression",
    "PhysicsTask",
    "PhysicsTaskDistribution",
    "Samples",
    "Variable",
    "find_suite",
    "find_task",
    "infix",
    "parse",
    "task_from_data",
]
