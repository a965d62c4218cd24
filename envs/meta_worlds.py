"""What a hidden task changes in a simulated world: where a goal lies, and how a pole behaves.

Dynamics are changed in the model's text, which MuJoCo then compiles anew, so that inertia follows from
mass and length as for any other model, and so that nothing of one task is left in the next.
"""

import math
from typing import Any
from xml.etree import ElementTree

from aime_agent.envs import gl

_POLES = {"pendulum": ".//body[@name='pole']/geom", "cartpole": ".//default[@class='pole']/geom"}
_ALONG_THE_POLE = {"fromto": (2, 5), "pos": (2,)}
"""The z-coordinates, by attribute: poles stand upright in the model files."""


def place_goal(physics: Any, family: str, values: tuple[float, ...]) -> None:
    """Moves the target of a family with goals; dm_control computes the rest at the reset."""
    x, y = values
    if family == "reacher-goal":
        x, y = values[0] * math.cos(values[1]), values[0] * math.sin(values[1])
    physics.named.model.geom_pos["target", ["x", "y"]] = x, y


def show_goal(physics: Any, visible: bool) -> None:
    """Makes the target opaque, or transparent, in which case it is not drawn at all."""
    rgba = physics.named.model.geom_rgba
    rgba["target"] = [0.9, 0.6, 0.1, float(visible)]


def rescaled_model(
    domain: str, mass: float, length: float, gear: float, damping: float
) -> tuple[str, Any]:
    """Returns the suite's model and its assets, with pole, motor and joints rescaled.

    Args:
        domain: ``pendulum`` or ``cartpole``.
        mass: Factor on the pole's mass (on the bob of the pendulum).
        length: Factor on the pole's length.
        gear: Factor on the motor's force.
        damping: Factor on the damping of all joints.
    """
    text, assets = gl.import_after_choice(f"dm_control.suite.{domain}").get_model_and_assets()
    root = ElementTree.fromstring(text)
    for geom in root.findall(_POLES[domain]):
        _rescale(geom, "mass", mass)
        for attribute, places in _ALONG_THE_POLE.items():
            _rescale(geom, attribute, length, places)
    for motor in root.iter("motor"):
        _rescale(motor, "gear", gear)
    for joint in root.iter("joint"):
        _rescale(joint, "damping", damping)
    return ElementTree.tostring(root, encoding="unicode"), assets


def _rescale(
    element: ElementTree.Element, attribute: str, factor: float, places: tuple[int, ...] = (0,)
) -> None:
    """Multiplies some numbers of an attribute, where there is one."""
    numbers = [float(number) for number in element.get(attribute, "").split()]
    for place in places if numbers else ():
        numbers[place] *= factor
    if numbers:
        element.set(attribute, " ".join(repr(number) for number in numbers))
