"""The Nguyen benchmark: twelve formulas to be found in 20 rows, without numbers or constants.

Formulas and ranges are those of Uy et al. (2011) as used by deep symbolic regression; the library is
Koza's, {+, −, ×, ÷, sin, cos, exp, log}, in which 1 is x/x and √x is exp(log(x)/2). Nguyen-12* is
Nguyen-12 on [0, 10]: on [0, 1] it is known to be found by hardly any method.
"""

from aime_agent.symbolic.tasks import PhysicsTask, Variable
from aime_agent.symbolic.vocabulary import KOZA


def _nguyen(number: str, law: str, low: float, high: float, difficulty: float) -> PhysicsTask:
    two = "y" in law
    return PhysicsTask(
        name=f"nguyen_{number}", law=law, target="f", library=KOZA, suite="nguyen", rows=20,
        inputs=tuple(Variable(name, low, high) for name in ("x", "y")[: 1 + two]),
        difficulty=difficulty, description=f"Nguyen-{number}",
    )  # fmt: skip


NGUYEN: tuple[PhysicsTask, ...] = (
    _nguyen("1", "x**3 + x**2 + x", -1.0, 1.0, 0.3),
    _nguyen("2", "x**4 + x**3 + x**2 + x", -1.0, 1.0, 0.4),
    _nguyen("3", "x**5 + x**4 + x**3 + x**2 + x", -1.0, 1.0, 0.5),
    _nguyen("4", "x + x*(x + x*(x + x*(x + x*(x + x*x))))", -1.0, 1.0, 0.6),
    _nguyen("5", "sin(x**2)*cos(x) - 1", -1.0, 1.0, 0.7),
    _nguyen("6", "sin(x) + sin(x + x**2)", -1.0, 1.0, 0.5),
    _nguyen("7", "log(x + 1) + log(x**2 + 1)", 0.0, 2.0, 0.8),
    _nguyen("8", "sqrt(x)", 0.0, 4.0, 0.3),
    _nguyen("9", "sin(x) + sin(y**2)", 0.0, 1.0, 0.3),
    _nguyen("10", "2*sin(x)*cos(y)", 0.0, 1.0, 0.5),
    _nguyen("11", "x**y", 0.0, 1.0, 0.4),
    _nguyen("12", "x**4 - x**3 + y**2/2 - y", 0.0, 1.0, 0.9),
    _nguyen("12_wide", "x**4 - x**3 + y**2/2 - y", 0.0, 10.0, 0.9),
)
