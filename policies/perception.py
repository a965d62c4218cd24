"""What a world model perceives in a stack of frames, without its recurrence: trunk, context, slots.

Frames o_{t-k+1..t} (blank ones, from before the episode, are forgotten):

    context_t    causal Perceiver over the stack
    slots_t      corrected frame by frame, from the learned queries on
    features     [W (posterior input of o_t); W context_t; pooled [slot; centre; mass]]

Frozen, the model stays in the process' cache, outside the policy; fine-tuned, the policy owns a copy
of the parts that are used, and gradients reach them. No gradient crosses a `VecEnv`, so this is the
place for fine-tuning.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from gymnasium import spaces
from jaxtyping import Bool, Float
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from aime_agent.attention.slot_filter import SlotTokens
from aime_agent.errors import ConfigError
from aime_agent.policies.extractors import SlotPool
from aime_agent.world_model.frozen import WorldRef
from aime_agent.world_model.model import AimeWorldModel

_UNUSED = (
    "prior",
    "ladder",
    "dynamics",
    "attention_prior",
    "slot_decoder",
    "decoder",
    "likelihood",
    "reward_head",
    "continuation_head",
)
"""Parts of a world model that perceive nothing."""


class Pretrained(nn.Module):
    """A copy of a world model that learns, without the parts that perceive nothing.

    SB3 initialises what it finds in a policy anew (``ortho_init``), by `apply`; not this.
    """

    def __init__(self, model: AimeWorldModel) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).requires_grad_(True)
        for name in _UNUSED:
            if getattr(self.model, name, None) is not None:
                delattr(self.model, name)

    def apply(self, fn: Callable[[nn.Module], Any]) -> "Pretrained":
        """Leaves the weights as they are."""
        del fn
        return self


class PerceptionExtractor(BaseFeaturesExtractor):  # type: ignore[misc]
    """Perceives stacked frames ``[k · C, H, W]`` (SB3's `VecFrameStack` over pixels).

    Args:
        observation_space: Channels first, as SB3's own image policies see it.
        world: What `aime_agent.world_model.frozen.freeze` returned.
        finetune: Whether gradients change (a copy of) the model.
        features_dim: Width of the part that comes from the frame, and of that from the context.
        slot_units: Width of the pooled slots.

    Raises:
        ConfigError: the frames are not such as the model was trained on.
        CheckpointError: the model is not to be found.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        world: WorldRef,
        finetune: bool = False,
        features_dim: int = 128,
        slot_units: int = 64,
    ) -> None:
        frozen = world.model()
        c = frozen.config
        width = features_dim * (1 + (c.context != "none")) + slot_units * c.use_slots
        super().__init__(observation_space, width)
        self.num_frames = _count_frames(observation_space, frozen)
        self.world, self.finetune = world, finetune
        self.perception = Pretrained(frozen) if finetune else None
        self.frame = _projection(frozen.encoder.config.units, features_dim)
        self.context = _projection(c.context_dim, features_dim) if c.context != "none" else None
        self.pool = SlotPool(c.slot_dim + 3, slot_units) if c.use_slots else None

    def forward(self, observations: Float[Tensor, "N kC H W"]) -> Float[Tensor, "N F"]:
        """Returns the features of frames in [0, 1]."""
        frames = observations.unflatten(1, (self.num_frames, -1))
        with torch.set_grad_enabled(self.finetune and torch.is_grad_enabled()):
            parts = perceive_stack(self._model(observations.device), frames)
        nets = (self.frame, self.context, self.pool)
        return torch.cat(
            [net(x) for net, x in zip(nets, parts, strict=True) if net is not None], dim=-1
        )

    def _model(self, device: torch.device) -> Any:
        return self.world.model(device) if self.perception is None else self.perception.model


def perceive_stack(
    model: AimeWorldModel, frames: Float[Tensor, "N k C H W"]
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Returns posterior input and context of the last frame, and its slots' tokens ``[N, S, D+3]``."""
    first = first_seen(frames)
    evidence, _, _ = model.perceive(frames, first, model.initial_cache(len(frames)))
    last = evidence.frames()[-1]
    if not model.config.use_slots:
        return last.posterior_input, last.context, None
    slots = model.slots.initial_slots(len(frames))
    shares = slots.new_empty(0)
    for t, seen in enumerate(evidence.frames()):
        keys = SlotTokens(seen.keys, seen.values, seen.glimpse_values)
        slots, shares = model.slots.bind(slots, keys, first[:, t])
    read = model.slots.read(shares)
    tokens = torch.cat([slots, read.centers, read.mass[..., None]], dim=-1)
    return last.posterior_input, last.context, tokens


def first_seen(frames: Float[Tensor, "N k C H W"]) -> Bool[Tensor, "N k"]:
    """Returns where a stack begins: at its first frame, and after every blank one."""
    blank = (frames == 0).flatten(2).all(-1)
    return torch.cat([torch.ones_like(blank[:, :1]), blank[:, :-1]], dim=1)


def perception_kwargs(world: WorldRef, finetune: bool = False, **settings: Any) -> dict[str, Any]:
    """Returns SB3's ``policy_kwargs`` for a ``CnnPolicy`` that perceives with a world model.

    >>> sorted(perception_kwargs(WorldRef("0123")))
    ['features_extractor_class', 'features_extractor_kwargs', 'share_features_extractor']
    """
    return {
        "features_extractor_class": PerceptionExtractor,
        "features_extractor_kwargs": {"world": world, "finetune": finetune, **settings},
        "share_features_extractor": True,
    }


def _projection(size: int, units: int) -> nn.Module:
    return nn.Sequential(nn.Linear(size, units), nn.LayerNorm(units), nn.SiLU())


def _count_frames(space: spaces.Space[Any], model: AimeWorldModel) -> int:
    """Returns k."""
    c = model.config
    shape = tuple(getattr(space, "shape", None) or ())
    fits = len(shape) == 3 and shape[1:] == (c.image_size, c.image_size)
    if not fits or shape[0] % c.image_channels:
        raise ConfigError(
            f"PerceptionExtractor: frames [k * {c.image_channels}, {c.image_size}, {c.image_size}] "
            f"required, found {space}; use CnnPolicy on VecFrameStack of pixels of that size"
        )
    return shape[0] // c.image_channels
