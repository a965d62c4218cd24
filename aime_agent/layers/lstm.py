"""A long short-term memory for stepping (Hochreiter & Schmidhuber, 1997).

    i, f, o = σ(W x + U h + b),   g = tanh(W x + U h + b)
    cell'   = f · cell + i · g,   h' = o · tanh cell'

Each gate's matrices start orthogonal, and the forget gate starts open (bias 1; Jozefowicz et al.,
2015). L layers, H hidden units.
"""

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from aime_agent.errors import ConfigError, ShapeError
from aime_agent.shapes import validate_shape

# Loose, because `forward` checks the layout itself and names the remedy.
States = Float[Tensor, "..."]


class LSTMState(NamedTuple):
    """Hidden and cell state, in the layout the caller used."""

    hidden: States
    cell: States


class LSTMLayer(nn.Module):
    """A stack of LSTM cells that takes one step or a sequence.

    Args:
        input_size: Width of the input.
        hidden_size: Width H of each layer.
        n_lstm_layers: Number of layers L.
        use_orthogonal: Start each gate's matrices orthogonal; otherwise torch's uniform start.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        n_lstm_layers: int = 1,
        use_orthogonal: bool = True,
    ) -> None:
        super().__init__()
        if n_lstm_layers < 1:
            raise ConfigError(f"LSTMLayer.n_lstm_layers must be at least 1, found {n_lstm_layers}")
        self.input_size, self.hidden_size = input_size, hidden_size
        self.n_lstm_layers = n_lstm_layers
        self.cells = nn.ModuleList(
            nn.LSTMCell(hidden_size if i else input_size, hidden_size) for i in range(n_lstm_layers)
        )
        for cell in self.cells:
            _start(cell, use_orthogonal)

    def step(
        self,
        x: Float[Tensor, "B I"],
        hidden: Sequence[Float[Tensor, "B H"]],
        cell: Sequence[Float[Tensor, "B H"]],
    ) -> tuple[list[Float[Tensor, "B H"]], list[Float[Tensor, "B H"]]]:
        """Advances all layers by one step; states are one tensor per layer. Checks nothing."""
        new_hidden, new_cell = [], []
        for module, h, c in zip(self.cells, hidden, cell, strict=True):
            layer = cast("nn.LSTMCell", module)
            x, c = torch.lstm_cell(
                x, (h, c), layer.weight_ih, layer.weight_hh, layer.bias_ih, layer.bias_hh
            )
            new_hidden.append(x)
            new_cell.append(c)
        return new_hidden, new_cell

    def forward(
        self,
        x: Float[Tensor, "B I"] | Float[Tensor, "B T I"],
        hx: tuple[States, States] | States | None = None,
        c: States | None = None,
        masks: Float[Tensor, "..."] | Bool[Tensor, "..."] | None = None,
    ) -> tuple[Float[Tensor, "B H"] | Float[Tensor, "B T H"], LSTMState]:
        """Returns the top layer's output and the last state, shaped as the given one.

        Args:
            x: One step or a sequence.
            hx: ``(hidden, cell)``, or the hidden state alone with the cell in ``c``, or None for
                zeros (then the state comes back as ``[L, B, H]``).
            c: The cell state if ``hx`` is a tensor.
            masks: ``[B]`` or ``[B, T]``; where 0, the state is zeroed before the step.
        """
        hidden, cell, flat = self._read_state(x, hx, c)
        keep = self._read_masks(x, masks)
        outputs = []
        for t, frame in enumerate(x.unbind(1) if x.ndim == 3 else (x,)):
            if keep is not None:
                hidden = [h * keep[t] for h in hidden]
                cell = [c * keep[t] for c in cell]
            hidden, cell = self.step(frame, hidden, cell)
            outputs.append(hidden[-1])
        out = torch.stack(outputs, 1) if x.ndim == 3 else outputs[0]
        if flat:
            return out, LSTMState(hidden[0], cell[0])
        return out, LSTMState(torch.stack(hidden), torch.stack(cell))

    def _read_state(
        self, x: Tensor, hx: tuple[Tensor, Tensor] | Tensor | None, c: Tensor | None
    ) -> tuple[list[Tensor], list[Tensor], bool]:
        """Checks input and state, and takes the state apart by layer."""
        validate_shape(x, (*[-1] * (x.ndim - 1), self.input_size), "LSTM input")
        if hx is None:
            zeros = x.new_zeros(x.shape[0], self.hidden_size)
            return [zeros] * self.n_lstm_layers, [zeros] * self.n_lstm_layers, False
        if isinstance(hx, Tensor):
            if c is None:
                raise ShapeError(
                    "LSTM state: a hidden state needs its cell; pass hx=(hidden, cell)"
                )
            hx = (hx, c)
        hidden, cell = (self._by_layer(s, x, n) for s, n in zip(hx, ("h", "c"), strict=True))
        return hidden, cell, hx[0].ndim == 2

    def _by_layer(self, state: Tensor, x: Tensor, name: str) -> list[Tensor]:
        size = (x.shape[0], self.hidden_size)
        remedy = (
            f"The input holds {x.shape[0]} rows. In a loop over time pass one frame, x[:, t] of "
            "shape [B, D], not [B*T, D]; `context` is no cell state"
        )
        if state.ndim == 2 and self.n_lstm_layers == 1:
            validate_shape(state, size, f"LSTM state {name}", remedy)
            return [state]
        validate_shape(state, (self.n_lstm_layers, *size), f"LSTM state {name}", remedy)
        return list(state.unbind(0))

    def _read_masks(self, x: Tensor, masks: Tensor | None) -> list[Tensor] | None:
        """Returns one ``[B, 1]`` factor per step."""
        if masks is None:
            return None
        table = masks.reshape(x.shape[0], -1, 1).to(x.dtype)
        steps = x.shape[1] if x.ndim == 3 else 1
        validate_shape(table, (-1, steps, 1), "masks", "Pass [B], or [B, T] with a sequence")
        return list(table.unbind(1))


def _start(cell: nn.Module, use_orthogonal: bool) -> None:
    """Initialises one cell; torch keeps the gates stacked in the order i, f, g, o."""
    find = cell.get_parameter
    hidden = find("weight_hh").shape[1]
    with torch.no_grad():
        for name in ("weight_ih", "weight_hh"):
            for gate in torch.split(find(name), hidden):
                if use_orthogonal:
                    nn.init.orthogonal_(gate)
        for name in ("bias_ih", "bias_hh"):
            nn.init.zeros_(find(name))
        find("bias_ih")[hidden : 2 * hidden] = 1.0
