"""Values of an expression on data, in float64, without a compiler.

Tokens are read from right to left with a stack. No operator is protected: sqrt(−1) is nan, 1/0 is
inf, and whoever scores a law gives such values nothing. So the printed law *is* the function.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float64

from aime_agent.symbolic.vocabulary import ARITY, CONST, ID, NUMBER_VALUES, is_variable

Values = Float64[np.ndarray, "N"]


def _cube(x: Values) -> Values:
    return x * x * x


_BY_NAME: dict[str, Callable[..., Values]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "neg": np.negative,
    "inverse": np.reciprocal,
    "square": np.square,
    "cube": _cube,
    "sqrt": np.sqrt,
    "exp": np.exp,
    "log": np.log,
    "sin": np.sin,
    "cos": np.cos,
    "tanh": np.tanh,
    "abs": np.absolute,
}
_OPERATORS = {ID[name]: operator for name, operator in _BY_NAME.items()}


def evaluate(
    tokens: Sequence[int], inputs: Float64[np.ndarray, "V N"], constants: Sequence[float] = ()
) -> Values:
    """Returns the expression's value at every column of ``inputs``.

    Args:
        tokens: A complete tree in prefix order that uses no more than V variables.
        inputs: Row i holds the values of variable x_i.
        constants: One value per ``const`` token, from left to right.
    """
    stack: list[Values] = []
    k = len(constants)
    one = np.ones(inputs.shape[1])
    with np.errstate(all="ignore"):
        for token in reversed(tokens):
            if is_variable(token):
                stack.append(inputs[token])
            elif token == CONST:
                k -= 1
                stack.append(constants[k] * one)
            elif token in NUMBER_VALUES:
                stack.append(NUMBER_VALUES[token] * one)
            elif ARITY[token] == 1:
                stack.append(_OPERATORS[token](stack.pop()))
            else:
                left = stack.pop()
                stack.append(_OPERATORS[token](left, stack.pop()))
    return stack.pop()
