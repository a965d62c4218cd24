"""Writes docs/shapes.md: every public tensor of the world model, by preset, from a real pass.

Usage: python scripts/make_shapes.py --out docs/shapes.md
"""

import dataclasses
import typing
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from torch import Tensor

from aime_agent.representation.mixture import MixturePrior
from aime_agent.world_model.model import AimeWorldModel
from aime_agent.world_model.outputs import WorldModelOutput
from aime_agent.world_model.presets import PRESETS, preset
from aime_agent.world_model.state import (
    AttentionView,
    Belief,
    Evidence,
    Prediction,
    TokenEvidence,
    WorldState,
)

BATCH, LENGTH, SAMPLES, HORIZON = 1, 2, 2, 1
UNWRITTEN = {
    "posterior_input": "B T U",
    "keys": "B T L D",
    "values": "B T L D",
    "glimpse_values": "B T L g",
    "Evidence.context": "B T c",
    "ids": "N y x",
    "Prediction.observations": "B N H C Y X",
    "rewards": "B N H",
    "continues": "B N H",
    "latents": "B N H z",
    "attention_maps": "B N H R R",
    "Prediction.slots": "B N H S D",
    "mixture_weights": "B N H K",
}
"""Letters of tensors whose annotation has none."""
RESPELLED = {"C H W": "C Y X", "d h w": "d y x", "K D": "K z", "*b ": "B T ", "*b": "B T"}
"""Letters that another result uses for something else."""
HEAD = """# Shapes

Made by `python scripts/make_shapes.py`; a test compares this page with what the presets do, so do
not edit it. Every tensor is batch first, time second. The numbers leave out the dimensions that are
the caller's: B sequences, T frames, N samples of a prediction (in the tokens: N = B T frames), and
H predicted frames. Letters: Y, X pixels; L = R² cells; G, r channels and side of the attention
prior's memory; W, F entries and width of the ring of frame summaries; g glimpse; d, y, x channels
and sides of the token grid; J = K − 1 sticks; the rest is in the first table.
"""
LETTERS = {
    "image side in pixels": lambda c: c.image_size,
    "A, action": lambda c: c.action_dim,
    "h, recurrent state": lambda c: c.hidden_dim,
    "z, latent": lambda c: c.latent_dim,
    "c, context": lambda c: c.context_dim,
    "K, mixture components": lambda c: c.max_components,
    "S, slots": lambda c: c.num_slots,
    "D, slot": lambda c: c.slot_dim,
    "R, side of the attention maps": lambda c: c.attention_resolution,
    "U, hidden layer of posterior and prior": lambda c: c.units,
    "features [h, z]": lambda c: c.feature_dim,
}


@dataclass(frozen=True, kw_only=True)
class Args:
    """Where the page goes."""

    out: Path = Path("docs/shapes.md")
    """Markdown file to write."""


class Passes(typing.NamedTuple):
    """What one preset gives."""

    model: AimeWorldModel
    state: WorldState
    belief: Belief
    dream: Belief
    evidence: Evidence
    output: WorldModelOutput
    future: Prediction


@torch.no_grad()
def passes(name: str) -> Passes:
    """Runs a preset on as little as shows every shape, without computing a number."""
    with torch.device("meta"):
        return _passes(AimeWorldModel(preset(name)).eval())


def _passes(model: AimeWorldModel) -> Passes:
    c = model.config
    frames = torch.rand(BATCH, LENGTH, c.image_channels, c.image_size, c.image_size)
    actions = torch.zeros(BATCH, LENGTH, c.action_dim)
    state = model.initial_state(BATCH)
    belief = model.infer(state, frames[:, 0])
    first = torch.zeros(BATCH, LENGTH, dtype=torch.bool)
    evidence, _, _ = model.perceive(frames, first, model.perceiver.initial_cache(BATCH))
    return Passes(
        model,
        state,
        belief,
        model.imagine(model.advance(belief, actions[:, 0])),
        evidence,
        model.forward_sequence(frames, actions),
        model.predict_future(
            frames, actions[:, 1:], actions[:, :HORIZON], num_samples=SAMPLES, temperature=0.0
        ),
    )


def page() -> str:
    """Returns the whole page."""
    found = {name: passes(name) for name in PRESETS}
    configs = {name: p.model.config for name, p in found.items()}
    sizes = [[what] + [str(read(c)) for c in configs.values()] for what, read in LETTERS.items()]
    parts = [
        HEAD,
        table("Sizes", ["letter", *found], sizes),
        tensors("State before a frame: `initial_state`, `advance`", WorldState, found, "state", 1),
        tensors("Belief at a frame: `infer`", Belief, found, "belief", 1),
        nothing(found),
        tensors("Evidence of frames: `perceive`", Evidence, found, "evidence", 2),
        tensors("A sequence: `forward_sequence`", WorldModelOutput, found, "output", 2),
        tensors("`forward_sequence(…).prior`", MixturePrior, found, "output.prior", 2),
        tensors("`forward_sequence(…).view`", AttentionView, found, "output.view", 2),
        tensors("`forward_sequence(…).tokens`", TokenEvidence, found, "output.tokens", 1),
        tensors("A prediction: `predict_future`", Prediction, found, "future", 3),
        parameters(found),
    ]
    return "\n".join(parts)


def nothing(found: dict[str, Passes]) -> str:
    """Says which fields of a dreamt belief differ from an inferred one."""
    one = next(iter(found.values()))
    seen, dreamt = one.belief, one.dream
    names = [name for name in Belief._fields if name != "state"]
    gone = [f"`{n}`" for n in names if getattr(dreamt, n) is None and getattr(seen, n) is not None]
    new = [f"`{n}`" for n in names if getattr(seen, n) is None and getattr(dreamt, n) is not None]
    return (
        f"`state` is the table above. In a dream (`imagine`)\n{', '.join(gone)} are None, and\n"
        f"{', '.join(new)} [B, K] is there. `forward_sequence(…).beliefs` has the same fields,\n"
        "with T after B.\n"
    )


def tensors(title: str, kind: type, found: dict[str, Passes], path: str, lead: int) -> str:
    """Returns the table of the tensors of one kind of result.

    Args:
        title: Heading.
        kind: NamedTuple or dataclass whose annotations give the letters.
        found: Results by preset.
        path: Where they are in `Passes`.
        lead: How many leading dimensions are the caller's.
    """
    rows = []
    for name, hint in annotations(kind).items():
        values = [getattr(walk(p, path), name) for p in found.values()]
        if any(isinstance(v, Tensor) for v in values):
            letters = letters_of(kind, name, hint, lead)
            rows.append([f"`{name}`", letters] + [numbers(v, lead) for v in values])
    return table(title, ["tensor", "letters", *found], rows)


def annotations(kind: type) -> dict[str, typing.Any]:
    """Returns the annotated fields of a result, in order."""
    hints = typing.get_type_hints(kind, include_extras=True)
    names = (
        [f.name for f in dataclasses.fields(kind)]
        if dataclasses.is_dataclass(kind)
        else kind._fields
    )
    return {name: hints[name] for name in names}


def letters_of(kind: type, name: str, hint: typing.Any, lead: int) -> str:
    """Returns the dimensions as the code writes them, with what a stack puts in front."""
    written = [h for h in (hint, *typing.get_args(hint)) if hasattr(h, "dim_str")]
    text = UNWRITTEN.get(f"{kind.__name__}.{name}", UNWRITTEN.get(name, ""))
    if written:
        text = written[0].dim_str
    for old, new in RESPELLED.items():
        text = text.replace(old, new)
    if lead == 2 and not text.startswith("B T"):
        text = text.replace("B", "B T", 1)
    return f"[{', '.join(text.split())}]"


def numbers(value: Tensor | None, lead: int) -> str:
    """Returns the sizes of the model's own dimensions."""
    sizes = () if value is None else value.shape[lead:]
    return " × ".join(str(n) for n in sizes) or "1"


def walk(value: typing.Any, path: str) -> typing.Any:
    """Follows attribute names."""
    for name in path.split("."):
        value = getattr(value, name)
    return value


def parameters(found: dict[str, Passes]) -> str:
    """Returns the table of trainable parameters by module."""
    counts = {name: by_module(p.model) for name, p in found.items()}
    modules = dict.fromkeys(name for count in counts.values() for name in count)
    rows = [[f"`{m}`"] + [f"{c.get(m, 0):,}" for c in counts.values()] for m in modules]
    sums = ["all"] + [f"{sum(c.values()):,}" for c in counts.values()]
    return table("Parameters", ["module", *found], [*rows, sums])


def by_module(model: AimeWorldModel) -> dict[str, int]:
    """Counts the parameters of the modules that have any."""
    sizes = {n: sum(p.numel() for p in m.parameters()) for n, m in model.named_children()}
    return {name: size for name, size in sizes.items() if size}


def table(title: str, head: list[str], rows: list[list[str]]) -> str:
    """Returns a section with a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return f"## {title}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def main(args: Args) -> None:
    args.out.write_text(page(), encoding="utf-8")
    print(f"written to {args.out}")


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))
