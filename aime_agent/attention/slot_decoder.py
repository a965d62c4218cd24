"""Slots back to pixels (spatial broadcast, Watters et al., 2019; mixed as in slot attention).

    (rgb_s, a_s)(p) = MLP([slot_s, γ(p)])          γ: coordinates and their sines and cosines
    rgb(p)          = Σ_s α_s(p) rgb_s(p),  α = softmax over s of a_s

Every pixel is independent of the others, so a few hundred of them per frame are enough for
training. Without this loss nothing turns slots into objects. The first layer is linear in
[slot, γ], so its two halves are computed apart: once per slot and once per pixel.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from aime_agent.configs import override
from aime_agent.errors import ConfigError
from aime_agent.functional.spatial import coordinate_grid


class SlotReconstruction(NamedTuple):
    """Pixels composed of slots."""

    rgb: Float[Tensor, "N P C"]
    alpha: Float[Tensor, "N S P"]
    """Masks; sum to 1 over slots."""


@dataclass(frozen=True, kw_only=True)
class SlotDecoderConfig:
    """Settings of `SlotDecoder`."""

    slot_dim: int = 32
    hidden_dim: int = 64
    channels: int = 3
    frequencies: int = 4
    """Octaves of sines and cosines in γ."""

    def __post_init__(self) -> None:
        """Checks the settings."""
        for name in ("slot_dim", "hidden_dim", "channels"):
            if getattr(self, name) < 1:
                value = getattr(self, name)
                raise ConfigError(f"SlotDecoderConfig.{name} must be at least 1, found {value}")
        if self.frequencies < 0:
            raise ConfigError(
                f"SlotDecoderConfig.frequencies must not be negative, found {self.frequencies}"
            )


class SlotDecoder(nn.Module):
    """Decodes slots at any set of pixels."""

    def __init__(self, config: SlotDecoderConfig | None = None, **overrides: Any) -> None:
        super().__init__()
        self.config = c = override(config or SlotDecoderConfig(), **overrides)
        self.from_slot = nn.Linear(c.slot_dim, c.hidden_dim)
        self.from_position = nn.Linear(2 + 4 * c.frequencies, c.hidden_dim, bias=False)
        self.pixel = nn.Sequential(
            nn.ReLU(),
            nn.Linear(c.hidden_dim, c.hidden_dim),
            nn.ReLU(),
            nn.Linear(c.hidden_dim, c.channels + 1),
        )

    def forward(
        self,
        slots: Float[Tensor, "N S D"],
        coords: Float[Tensor, "P 2"] | Float[Tensor, "N P 2"],
    ) -> SlotReconstruction:
        """Returns colours and masks of pixels at ``coords``, shared by all frames or per frame."""
        rgb, alpha = self.components(slots, coords)
        return SlotReconstruction((alpha.unsqueeze(-1) * rgb).sum(1), alpha)

    def components(
        self,
        slots: Float[Tensor, "N S D"],
        coords: Float[Tensor, "P 2"] | Float[Tensor, "N P 2"],
    ) -> tuple[Float[Tensor, "N S P C"], Float[Tensor, "N S P"]]:
        """Returns every slot's own colours, and the masks."""
        position = self.from_position(fourier_features(coords, self.config.frequencies))
        if coords.dim() == 3:
            position = position.unsqueeze(1)
        decoded = self.pixel(self.from_slot(slots).unsqueeze(2) + position)
        return decoded[..., :-1], decoded[..., -1].softmax(1)

    def render(
        self, slots: Float[Tensor, "N S D"], height: int, width: int
    ) -> tuple[Float[Tensor, "N C {height} {width}"], Float[Tensor, "N S {height} {width}"]]:
        """Returns whole images and masks at image resolution."""
        coords = coordinate_grid(height, width, slots).flatten(0, 1)
        rgb, alpha = self(slots, coords)
        size = (height, width)
        return rgb.mT.unflatten(-1, size), alpha.unflatten(-1, size)


def fourier_features(
    coords: Float[Tensor, "*batch 2"], frequencies: int
) -> Float[Tensor, "*batch 2+4*{frequencies}"]:
    """Returns x, y and sin, cos of π 2^i x, π 2^i y for i below ``frequencies``."""
    octaves = math.pi * 2 ** torch.arange(frequencies, dtype=coords.dtype, device=coords.device)
    angles = (coords.unsqueeze(-1) * octaves).flatten(-2)
    return torch.cat([coords, angles.sin(), angles.cos()], dim=-1)
