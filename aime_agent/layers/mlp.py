"""Multi-layer perceptrons: Linear → norm → SiLU, with an optional plain Linear at the end."""

from jaxtyping import Float
from torch import Tensor, nn

from aime_agent.errors import ConfigError, nearest

_NORMS: dict[str, type[nn.Module]] = {"layer": nn.LayerNorm, "rms": nn.RMSNorm}


class MLP(nn.Module):
    """A stack of ``num_layers`` × (Linear, norm, SiLU), then a Linear if ``out_features`` is given.

    Args:
        in_features: Width of the input.
        units: Width of the hidden layers, and of the output if ``out_features`` is None.
        num_layers: Number of hidden layers.
        out_features: Width of the final Linear; it has no norm and no non-linearity.
        norm: ``"layer"``, ``"rms"`` or ``"none"``, between a Linear and its SiLU.
    """

    def __init__(
        self,
        in_features: int,
        units: int,
        num_layers: int = 1,
        out_features: int | None = None,
        norm: str = "layer",
    ) -> None:
        super().__init__()
        if num_layers < 1:
            raise ConfigError(f"MLP.num_layers must be at least 1, found {num_layers}")
        if norm not in ("none", *_NORMS):
            raise ConfigError(f"MLP.norm is {norm!r}. {nearest(norm, ('none', *_NORMS))}")
        parts: list[nn.Module] = []
        for i in range(num_layers):
            parts.append(nn.Linear(units if i else in_features, units))
            if norm != "none":
                parts.append(_NORMS[norm](units))
            parts.append(nn.SiLU())
        if out_features is not None:
            parts.append(nn.Linear(units, out_features))
        self.layers = nn.Sequential(*parts)

    def forward(self, x: Float[Tensor, "*b D"]) -> Float[Tensor, "*b E"]:
        """Applies the stack to the last dimension."""
        out: Tensor = self.layers(x)
        return out


class LinearResidual(nn.Module):
    """W x + MLP(x), where the MLP starts at zero: linear at first, and no worse later."""

    def __init__(self, in_features: int, out_features: int, units: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)
        self.correction = MLP(in_features, units, out_features=out_features)
        zero_output(self.correction)

    def forward(self, x: Float[Tensor, "*b D"]) -> Float[Tensor, "*b E"]:
        """Adds the correction to the linear map."""
        out: Tensor = self.linear(x) + self.correction(x)
        return out


def zero_output(module: MLP | nn.Linear) -> None:
    """Sets the last Linear of ``module`` to zero, so that it starts by predicting zero."""
    last = module.layers[-1] if isinstance(module, MLP) else module
    if not isinstance(last, nn.Linear):
        raise ConfigError("zero_output needs an MLP with out_features, found one that ends in SiLU")
    nn.init.zeros_(last.weight)
    if last.bias is not None:
        nn.init.zeros_(last.bias)
