"""Side attributes without hidden state.

The seed documents read results of the last call from a module (``posterior.slot_centers``).
`KeepsLast` serves the fields of ``_last``, a NamedTuple that ``forward`` stores, as read-only
attributes. Library code never reads them: it calls ``infer``, which returns everything.
"""

from typing import Any

from torch import Tensor, nn


class KeepsLast(nn.Module):
    """Serves the fields of the last output as attributes; forgets them on copy and pickle.

    Subclasses set ``self._last`` (a NamedTuple) in ``forward`` only, and may name fields whose
    graph must survive in ``_keeps_graph`` (losses); all other tensors are served detached.
    """

    _last: Any = None
    _keeps_graph: tuple[str, ...] = ()

    def __getattr__(self, name: str) -> Any:
        """Looks the name up in parameters, then in the last output."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            last = self.__dict__.get("_last")
            if last is not None and name in last._fields:
                value = getattr(last, name)
                if isinstance(value, Tensor) and name not in self._keeps_graph:
                    return value.detach()
                return value
            hint = "; call the module once before reading results of a call" if last is None else ""
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}{hint}") from None

    def __getstate__(self) -> dict[str, Any]:
        """Drops the last output, which may hold a graph."""
        state: dict[str, Any] = self.__dict__.copy()
        state.pop("_last", None)
        return state
