"""Laws of physics with units: twelve classics, sixteen of the Feynman lectures, two of MuJoCo.

`LAWS` are the tasks that the third seed's library lists, repaired (see each description) and put at
ranges of order one, with three classics more. Some inputs are distractors. `DMC` are equations of
motion of two control suite tasks with the constants of their model files; `aime_agent.envs.dmc_laws`
measures the same rows in the simulator. Formulas of `FEYNMAN` and their numbers are those of
the AI Feynman benchmark; ranges are 1 to 5 unless noted.
"""

from aime_agent.symbolic.tasks import PhysicsTask, Variable
from aime_agent.symbolic.vocabulary import PHYSICS

_LIBRARY = (*PHYSICS, "const")
_CONTROL = ("const", "add", "sub", "mul", "div", "square", "sin", "cos")
"""Equations of motion with unknown coefficients need no numbers of their own."""


def _law(
    name: str,
    law: str,
    target: str,
    unit: str,
    *inputs: tuple[str, float, float, str],
    **more: object,
) -> PhysicsTask:
    facts = {"suite": "laws", "domain": "mechanics", "difficulty": 0.3, "max_nodes": 20} | more
    return PhysicsTask(
        name=name, law=law, target=target, unit=unit, use_units=True, library=_LIBRARY,
        max_constants=1, inputs=tuple(Variable(*v) for v in inputs), **facts,  # type: ignore[arg-type]
    )  # fmt: skip


_PENDULUM = (("L", 0.5, 2.0, "m"), ("g", 5.0, 15.0, "m/s^2"))
_ANGLES = (
    ("theta1", -3.14, 3.14, "rad"), ("theta2", -3.14, 3.14, "rad"),
    ("omega1", -2.0, 2.0, "1/s"), ("omega2", -2.0, 2.0, "1/s"),
)  # fmt: skip
_MASSES = (
    ("m1", 0.5, 2.0, "kg"), ("m2", 0.5, 2.0, "kg"), ("L1", 0.5, 2.0, "m"), ("L2", 0.5, 2.0, "m"),
    ("g", 5.0, 15.0, "m/s^2"),
)  # fmt: skip

LAWS: tuple[PhysicsTask, ...] = (
    _law(
        "harmonic_oscillator_energy", "m*v**2/2 + k*x**2/2", "E", "J",
        ("x", -2.0, 2.0, "m"), ("v", -2.0, 2.0, "m/s"), ("k", 0.5, 3.0, "N/m"),
        ("m", 0.5, 2.0, "kg"),
        difficulty=0.2, description="energy of a mass on a spring",
        symmetries=("time translation", "parity"), conserved_quantities=("energy",),
    ),
    _law(
        "pendulum_small_angle", "-g*theta/L", "alpha", "1/s^2",
        ("theta", -0.3, 0.3, "rad"), ("omega", -1.0, 1.0, "1/s"), *_PENDULUM,
        description="angular acceleration near the lowest point; omega is a distractor",
        symmetries=("time translation", "parity"), conserved_quantities=("energy",),
    ),
    _law(
        "pendulum_nonlinear", "-g*sin(theta)/L", "alpha", "1/s^2",
        ("theta", -1.57, 1.57, "rad"), ("omega", -1.0, 1.0, "1/s"), *_PENDULUM,
        difficulty=0.5, description="angular acceleration; omega is a distractor",
        symmetries=("time translation", "parity"), conserved_quantities=("energy",),
    ),
    _law(
        "pendulum_energy", "m*L**2*omega**2/2 + m*g*L*(1 - cos(theta))", "E", "J",
        ("theta", -3.14, 3.14, "rad"), ("omega", -2.0, 2.0, "1/s"), ("m", 0.5, 2.0, "kg"),
        *_PENDULUM, max_nodes=25, difficulty=0.6,
        description="kinetic and potential energy of a pendulum",
        symmetries=("time translation", "parity"), conserved_quantities=("energy",),
    ),
    _law(
        "kepler_orbit", "G*M/r**2", "a", "m/s^2",
        ("r", 0.5, 2.0, "m"), ("v", 0.5, 2.0, "m/s"), ("G", 0.5, 2.0, "m^3/kg/s^2"),
        ("M", 0.5, 2.0, "kg"),
        difficulty=0.6, description="gravitational acceleration; v is a distractor",
        symmetries=("rotation", "time translation"),
        conserved_quantities=("energy", "angular momentum"),
    ),
    _law(
        "kepler_third_law", "4*pi**2*a**3/(G*M)", "T2", "s^2",
        ("a", 0.5, 2.0, "m"), ("G", 0.5, 2.0, "m^3/kg/s^2"), ("M", 0.5, 2.0, "kg"),
        difficulty=0.6, description="square of the period of an orbit",
        symmetries=("rotation", "time translation"), conserved_quantities=("energy",),
    ),
    _law(
        "damped_oscillator", "-k*x - b*v", "F", "N",
        ("x", -2.0, 2.0, "m"), ("v", -2.0, 2.0, "m/s"), ("k", 1.0, 3.0, "N/m"),
        ("b", 0.1, 1.0, "kg/s"),
        difficulty=0.5, description="force of a spring with friction", symmetries=("parity",),
    ),
    _law(
        "ideal_gas", "n*R*T/V", "P", "Pa",
        ("n", 0.5, 2.0, "mol"), ("R", 5.0, 10.0, "J/mol/K"), ("T", 1.0, 3.0, "K"),
        ("V", 0.5, 2.0, "m^3"),
        domain="thermodynamics",
        description="pressure (the original asked for R, which is the same in every row)",
    ),
    _law(
        "coulomb_law", "k*q1*q2/r**2", "F", "N",
        ("q1", -2.0, 2.0, "C"), ("q2", -2.0, 2.0, "C"), ("r", 0.5, 2.0, "m"),
        ("k", 0.5, 2.0, "N*m^2/C^2"),
        domain="electromagnetism", difficulty=0.4,
        description="signed force between charges", symmetries=("rotation", "exchange"),
    ),
    _law(
        "elastic_collision_energy", "m1*v1**2/2 + m2*v2**2/2", "E", "J",
        ("m1", 0.5, 2.0, "kg"), ("v1", -2.0, 2.0, "m/s"), ("m2", 0.5, 2.0, "kg"),
        ("v2", -2.0, 2.0, "m/s"),
        difficulty=0.7, description="kinetic energy of two bodies",
        symmetries=("exchange", "parity"), conserved_quantities=("energy",),
    ),
    _law(
        "elastic_collision_momentum", "m1*v1 + m2*v2", "p", "kg*m/s",
        ("m1", 0.5, 2.0, "kg"), ("v1", -2.0, 2.0, "m/s"), ("m2", 0.5, 2.0, "kg"),
        ("v2", -2.0, 2.0, "m/s"),
        description="momentum of two bodies", symmetries=("exchange",),
        conserved_quantities=("momentum",),
    ),
    _law(
        "double_pendulum_energy",
        "m1*(L1*omega1)**2/2 + m2*((L1*omega1)**2 + (L2*omega2)**2"
        " + 2*L1*L2*omega1*omega2*cos(theta1 - theta2))/2"
        " - (m1 + m2)*g*L1*cos(theta1) - m2*g*L2*cos(theta2)",
        "E", "J", *_ANGLES, *_MASSES, max_nodes=64, difficulty=0.9,
        description="energy of a double pendulum; nobody is expected to find it",
        symmetries=("time translation", "parity"), conserved_quantities=("energy",),
    ),
)  # fmt: skip

_INERTIA = 0.251
"""Of the control suite's pendulum about its hinge: 1 kg · (0.5 m)² + its own 0.001 kg m²."""

DMC: tuple[PhysicsTask, ...] = (
    PhysicsTask(
        name="dmc_pendulum_accel", suite="dmc", domain="control", target="alpha",
        law=f"{4.905 / _INERTIA!r}*sin(th) - {0.1 / _INERTIA!r}*om + {1 / _INERTIA!r}*u",
        inputs=(
            Variable("th", -3.14, 3.14), Variable("om", -5.0, 5.0), Variable("u", -1.0, 1.0),
        ),
        library=_CONTROL, max_constants=3, max_nodes=16, difficulty=0.6,
        description="(m g l sin th − b om + u) / (I + m l²) of the suite's pendulum",
    ),
    PhysicsTask(
        name="dmc_point_mass_accel", suite="dmc", domain="control", target="acc",
        law=f"{1 / 3!r}*u - {10 / 3!r}*v",
        inputs=(Variable("v", -1.0, 1.0), Variable("u", -1.0, 1.0)),
        library=_CONTROL, max_constants=2, max_nodes=16,
        description="gear · u / m − damping · v / m of the suite's point mass",
    ),
)  # fmt: skip


def _feynman(
    number: str, law: str, target: str, unit: str, *inputs: tuple[object, ...], **more: object
) -> PhysicsTask:
    ranged = [(v[0], *(v[2:] or (1.0, 5.0)), v[1]) for v in inputs]
    facts = {"suite": "feynman", "domain": "feynman", "description": f"equation {number}"}
    return _law(f"feynman_{number}", law, target, unit, *ranged, **facts, **more)  # type: ignore[arg-type]


FEYNMAN: tuple[PhysicsTask, ...] = (
    _feynman("I.12.1", "mu*Nn", "F", "N", ("mu", ""), ("Nn", "N")),
    _feynman("I.14.3", "m*g*z", "U", "J", ("m", "kg"), ("g", "m/s^2"), ("z", "m")),
    _feynman("I.25.13", "q/C", "Volt", "V", ("q", "C"), ("C", "F")),
    _feynman("I.29.4", "omega/c", "k", "1/m", ("omega", "1/s"), ("c", "m/s")),
    _feynman("I.43.31", "mob*kb*T", "D", "m^2/s", ("mob", "s/kg"), ("kb", "J/K"), ("T", "K")),
    _feynman(
        "I.39.22", "n*kb*T/V", "p", "Pa", ("n", ""), ("kb", "J/K"), ("T", "K"), ("V", "m^3")
    ),
    _feynman(
        "I.34.8", "q*v*B/p", "omega", "1/s",
        ("q", "C"), ("v", "m/s"), ("B", "T"), ("p", "kg*m/s"),
    ),
    _feynman(
        "I.18.12", "r*F*sin(theta)", "tau", "N*m",
        ("r", "m"), ("F", "N"), ("theta", "rad", 0.0, 5.0),
    ),
    _feynman("I.27.6", "1/(1/d1 + n/d2)", "f", "m", ("d1", "m"), ("d2", "m"), ("n", "")),
    _feynman("II.38.14", "Y/(2*(1 + sigma))", "mu", "Pa", ("Y", "Pa"), ("sigma", "")),
    _feynman("I.14.4", "k*x**2/2", "U", "J", ("k", "N/m"), ("x", "m")),
    _feynman("I.39.1", "3*pr*V/2", "E", "J", ("pr", "Pa"), ("V", "m^3")),
    _feynman("II.8.31", "eps*Ef**2/2", "u", "J/m^3", ("eps", "F/m"), ("Ef", "V/m")),
    _feynman("II.3.24", "Pwr/(4*pi*r**2)", "h", "W/m^2", ("Pwr", "W"), ("r", "m")),
    _feynman(
        "I.24.6", "m*(omega**2 + omega0**2)*x**2/4", "E", "J",
        ("m", "kg", 1.0, 3.0), ("omega", "1/s", 1.0, 3.0), ("omega0", "1/s", 1.0, 3.0),
        ("x", "m", 1.0, 3.0),
    ),
    _feynman("I.6.2a", "exp(-theta**2/2)/sqrt(2*pi)", "f", "", ("theta", "", 1.0, 3.0)),
)  # fmt: skip
