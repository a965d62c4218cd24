"""FiniteScalarQuantizer: vectors to codes of a fixed grid and back, without a codebook.

    y = W_down z,    c = quantise(y),    code = W_up c          (`functional.scalar_quantization`)

The same calls as `VectorQuantizer`: ``update_codebook`` and ``noise`` have nothing to act on, and
the commitment is 0, since rounding errors are bounded by the grid. There is nothing to revive, to
initialise from data or to average between processes.

Shapes: D vector width, Q groups of d scalars with one id each.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from aime_agent.configs import override
from aime_agent.functional import quantization as vq
from aime_agent.functional import scalar_quantization as fsq
from aime_agent.perception.checks import require, require_positive
from aime_agent.perception.vector_quantizer import Quantized


@dataclass(frozen=True, kw_only=True)
class FiniteScalarQuantizerConfig:
    """Settings of `FiniteScalarQuantizer`."""

    code_dim: int = 256
    """Width of the vectors."""
    levels: Sequence[int] = (8, 5, 5, 5)
    """Values of each scalar; their product is the number of codes."""
    num_quantizers: int = 1
    """Groups of scalars, one id each."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", tuple(self.levels))
        require_positive(self, "code_dim", "num_quantizers")
        ok = len(self.levels) > 0 and min(self.levels) >= 2
        require(ok, self, "levels must be numbers from 2 on", self.levels)

    @property
    def num_codes(self) -> int:
        """Codes per group."""
        return math.prod(self.levels)


class FiniteScalarQuantizer(nn.Module):
    """Quantises vectors scalar by scalar; see the module's docstring.

    Args:
        config: Settings; keywords replace single ones.
        **overrides: Fields of `FiniteScalarQuantizerConfig`.
    """

    def __init__(self, config: FiniteScalarQuantizerConfig | None = None, **overrides: Any) -> None:
        super().__init__()
        self.config = c = override(config or FiniteScalarQuantizerConfig(), **overrides)
        self.levels = tuple(c.levels)
        scalars = c.num_quantizers * len(self.levels)
        self.down = nn.Linear(c.code_dim, scalars)
        self.up = nn.Linear(scalars, c.code_dim)

    def forward(
        self,
        z: Float[Tensor, "*batch D"],
        update_codebook: bool = False,  # noqa: ARG002 (the interface of VectorQuantizer)
        noise: Float[Tensor, "Q K"] | None = None,  # noqa: ARG002
    ) -> Quantized:
        """Quantises ``z``.

        Args:
            z: Vectors.
            update_codebook: Accepted; there is no codebook.
            noise: Accepted; nothing is revived.
        """
        groups = torch.unflatten(self.down(z), -1, (self.config.num_quantizers, -1))
        scalars = fsq.quantise_scalars(groups, self.levels)
        ids = fsq.scalar_ids(scalars.detach(), self.levels)
        counts = vq.id_counts(ids.flatten(0, -2).mT, self.config.num_codes, z.dtype)
        codes: Tensor = self.up(scalars.flatten(-2))
        return Quantized(codes, ids, z.new_zeros(z.shape[:-1]), vq.perplexity(counts).mean())

    def lookup(self, ids: Int[Tensor, "*batch Q"]) -> Float[Tensor, "*batch D"]:
        """Returns the codes of ``ids``."""
        scalars = fsq.scalar_codes(ids, self.levels, self.up.weight.dtype)
        codes: Tensor = self.up(scalars.flatten(-2))
        return codes
