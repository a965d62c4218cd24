"""N dreams in one batch; see `aime_agent.envs.latent`.

state_{t+1} = advance(belief_t, a_t);  belief_{t+1} ~ prior;  reward and continuation from its heads
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from gymnasium.error import ResetNeeded
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from jaxtyping import Bool, Float32, UInt8
from torch import Tensor

from aime_agent.configs import override
from aime_agent.envs.belief_spaces import belief_space, control_space, observe_belief
from aime_agent.envs.latent_config import LatentConfig
from aime_agent.envs.latent_noise import EpisodeNoise
from aime_agent.envs.latent_sources import make_bank
from aime_agent.envs.latent_starts import Bank, array_clips, carried, filter_clips
from aime_agent.errors import ConfigError, DataError
from aime_agent.functional.returns import two_hot_quantile
from aime_agent.world_model.belief_filter import BeliefFilter
from aime_agent.world_model.frozen import WorldRef, freeze
from aime_agent.world_model.model import AimeWorldModel
from aime_agent.world_model.state import Belief, map_tree

Step: TypeAlias = tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]


class LatentVectorEnv(VectorEnv[Any, Any, Any]):
    """N dreams side by side.

    ``info`` holds per environment ``stochasticity`` (entropy of the mixture's weights, nats: how many
    futures the model sees) and, where the model has the heads for it, ``disagreement`` (how
    little it knows).

    Args:
        num_envs: N.
        checkpoint: Run folder, checkpoint, folder of `AimeWorldModel.save_pretrained`, or a model.
        autoreset_mode: Gymnasium's.
        render_mode: None or ``rgb_array``.
        **settings: Of `LatentConfig`.

    Raises:
        ConfigError: a setting is unknown or out of range, or there is nothing to start from.
        CheckpointError: there is no model.
        DataError: the start's frames do not fit the model.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 (Gymnasium's)
        "render_modes": ["rgb_array"],
        "render_fps": 15,
    }

    def __init__(
        self,
        num_envs: int,
        checkpoint: str | Path | AimeWorldModel,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        **settings: Any,
    ) -> None:
        if num_envs < 1:
            raise ConfigError(f"num_envs must be at least 1, found {num_envs}")
        if render_mode not in (None, "rgb_array"):
            raise ConfigError(f"render_mode must be None or 'rgb_array', found {render_mode!r}")
        self.config = c = override(LatentConfig(), **settings)
        self.num_envs, self.render_mode = num_envs, render_mode
        self._named: AimeWorldModel | WorldRef = (
            checkpoint if isinstance(checkpoint, AimeWorldModel) else freeze(checkpoint)
        )
        self.model = _on(self._named, c.device)
        self.filter = BeliefFilter(self.model)
        self.single_observation_space = belief_space(self.model.config, c.observation)
        self.single_action_space = control_space(self.model.config)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset_mode}
        self.bank: Bank = make_bank(self.model, checkpoint, c, self.attends)
        self.rngs = [seeding.np_random()[0] for _ in range(num_envs)]
        self._noise = EpisodeNoise(num_envs, c.horizon, self.model.config.latent_dim)
        self._belief: Belief | None = None
        self._done = np.ones(num_envs, dtype=bool)
        self._time = np.zeros(num_envs, dtype=np.int64)

    @property
    def attends(self) -> bool:
        """Whether attention and slots roll on with the dream."""
        return self.render_mode is not None or self.config.observation != "belief"

    @cached_property
    def world(self) -> WorldRef:
        """Names the model that is dreamt; policies that are saved keep this name."""
        return freeze(self._named)

    # ------------------------------------------------------------------ Gymnasium

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Begins new dreams.

        Args:
            seed: One for all (then counted up), one per environment, or None to go on.
            options: ``reset_mask`` chooses the environments; ``frames`` (and ``actions`` between
                them) are where the dreams begin instead of the bank, see
                `aime_agent.envs.latent_starts.array_clips`.

        Raises:
            ConfigError: an option is unknown.
            DataError: a shape does not fit.
        """
        chosen = dict(options or {})
        mask = _mask(chosen.pop("reset_mask", None), self.num_envs)
        if self._belief is None and not mask.all():
            raise ResetNeeded("reset_mask: the first reset takes all environments")
        self._seed(seed, mask)
        starts = self._given(chosen, int(mask.sum())) if chosen else None
        self._begin(np.flatnonzero(mask), starts)
        return self._observe(), {}

    def step(self, actions: Any) -> Step:
        """Dreams one step in every environment.

        Raises:
            DataError: actions have another shape, are not finite or not within [-1, 1].
            ResetNeeded: an environment has not begun, or is over and nobody resets it.
        """
        waiting = self._done.copy()
        if self._belief is None or (
            waiting.any() and self.autoreset_mode == AutoresetMode.DISABLED
        ):
            raise ResetNeeded(f"environments {np.flatnonzero(waiting).tolist()}: call reset first")
        chosen = self._checked(actions)
        rewards, terminated, info = self._dream(chosen)
        self._time += 1
        truncated = self._time >= self.config.horizon
        if waiting.any():  # NEXT_STEP: these begin anew, and their action is ignored
            self._begin(np.flatnonzero(waiting))
            rewards[waiting], terminated[waiting], truncated[waiting] = 0.0, False, False
            info = {k: np.where(waiting, 0.0, v).astype(v.dtype) for k, v in info.items()}
        self._done = terminated | truncated
        info = _with_masks(info, ~waiting)
        if self._done.any() and self.autoreset_mode == AutoresetMode.SAME_STEP:
            info = self._finish(info)
        return self._observe(), rewards, terminated, truncated, info

    def render(self) -> tuple[UInt8[np.ndarray, "H W C"], ...] | None:
        """Decodes what every environment dreams now."""
        if self.render_mode is None:
            return None
        if self._belief is None:
            raise ResetNeeded("reset comes before the first picture")
        from aime_agent.envs.latent_render import pictures

        return pictures(self.model, self._belief, self.config.overlay)

    # ------------------------------------------------------------------ dreaming

    @property
    def belief(self) -> Belief:
        """What is believed now, in all environments."""
        if self._belief is None:
            raise ResetNeeded("reset comes before the first belief")
        return self._belief

    @torch.no_grad()
    def _dream(
        self, actions: Float32[np.ndarray, "N A"]
    ) -> tuple[np.ndarray, Bool[np.ndarray, " N"], dict[str, np.ndarray]]:
        """Moves all beliefs on; returns rewards, terminations and what ``info`` says."""
        model, before = self.model, self.belief
        action = torch.from_numpy(actions).to(before.z)
        state = model.advance(before, action)
        normal, uniform, luck = self._noise.at(self._time, before.z)
        after = model.imagine(state, self.config.temperature, (normal, uniform), self.attends)
        self._belief = carried(after, self.attends)
        rewards = self._rewards(after, luck).double().cpu().numpy()
        ended = np.zeros(self.num_envs, dtype=bool)
        if self.config.terminate:
            ended = model.continuation(after).cpu().numpy() < 0.5
        doubts = self._doubts(before, action, after)
        return rewards, ended, doubts

    def _rewards(self, belief: Belief, luck: Tensor) -> Tensor:
        if self.config.reward == "mean":
            return self.model.reward(belief)
        head = self.model.reward_head
        return two_hot_quantile(head(belief.features), head.bins, luck)

    def _doubts(self, before: Belief, action: Tensor, after: Belief) -> dict[str, np.ndarray]:
        """Named apart: how many futures there are, and how little is known."""
        told = {}
        if after.log_pi is not None:
            told["stochasticity"] = -(after.log_pi.exp() * after.log_pi.clamp_min(-50)).sum(-1)
        if self.model.doubt is not None:
            told["disagreement"] = self.model.disagreement(before.features, action)
        return {name: value.float().cpu().numpy() for name, value in told.items()}

    def _begin(self, rows: np.ndarray, starts: Belief | None = None) -> None:
        """Begins dreams in some environments, from the bank or from given beliefs."""
        picks = np.array([self._noise.draw(r, self.rngs[r], self.bank.size) for r in rows.tolist()])
        fresh = self.bank.take(picks) if starts is None else starts
        if len(rows) == self.num_envs:
            self._belief = fresh
        else:
            index = torch.from_numpy(rows).to(fresh.z.device)
            self._belief = map_tree(lambda a, b: a.index_copy(0, index, b), self.belief, fresh)
        self._time[rows], self._done[rows] = 0, False

    def _given(self, options: dict[str, Any], count: int) -> Belief:
        """Filters the frames of reset's options; one window serves all environments."""
        if "frames" not in options or set(options) - {"frames", "actions"}:
            raise ConfigError(
                f"options: frames (and actions) or reset_mask required, found {sorted(options)}"
            )
        clips = array_clips(options["frames"], options.get("actions"), self.model.config.action_dim)
        bank = filter_clips(self.model, clips, self.attends)
        if bank.size not in (1, count):
            raise DataError(f"frames: 1 or {count} windows required, found {bank.size}")
        return bank.take(np.arange(count) % bank.size)

    def _finish(self, info: dict[str, Any]) -> dict[str, Any]:
        """Begins anew where episodes ended, and keeps how they ended (SAME_STEP)."""
        ended = self._done.copy()
        last = self._observe()
        final = {k: np.where(ended, v, np.zeros_like(v)) for k, v in info.items()}
        rest = (
            {}
            if ended.all()
            else {k: np.where(ended, np.zeros_like(v), v) for k, v in info.items()}
        )
        self._begin(np.flatnonzero(ended))
        rest |= {"final_obs": _objects(last, ended), "_final_obs": ended.copy()}
        return rest | {"final_info": final, "_final_info": ended.copy()}

    def _observe(self) -> Any:
        return observe_belief(self.filter, self.belief, self.config.observation)

    def _seed(self, seed: int | Sequence[int | None] | None, mask: np.ndarray) -> None:
        if seed is None:
            return
        seeds = [seed + i for i in range(self.num_envs)] if isinstance(seed, int) else list(seed)
        if len(seeds) != self.num_envs:
            raise DataError(f"seed: {self.num_envs} seeds required, found {len(seeds)}")
        for row in np.flatnonzero(mask):
            if seeds[row] is not None:
                self.rngs[row] = seeding.np_random(seeds[row])[0]

    def _checked(self, actions: Any) -> Float32[np.ndarray, "N A"]:
        value = np.asarray(actions, dtype=np.float32)
        shape = (self.num_envs, self.model.config.action_dim)
        if value.shape != shape:
            raise DataError(f"actions must have shape {shape}, found {value.shape}")
        if not np.abs(value).max() <= 1.0:
            worst = np.flatnonzero(~(np.abs(value) <= 1.0).all(1))
            raise DataError(
                f"actions must be finite and within [-1, 1], found {value[worst[0]].tolist()} "
                f"in environment {worst[0]}"
            )
        return value


def _on(world: AimeWorldModel | WorldRef, device: str) -> AimeWorldModel:
    """The model itself, or the process' frozen copy of what a path names."""
    return world.model(device) if isinstance(world, WorldRef) else world.to(device).eval()


def _mask(mask: Any, count: int) -> Bool[np.ndarray, " N"]:
    """Returns which environments to reset; all if nothing is said."""
    if mask is None:
        return np.ones(count, dtype=bool)
    found = np.asarray(mask)
    if found.shape != (count,) or found.dtype != np.bool_ or not found.any():
        raise DataError(
            f"reset_mask: {count} booleans, at least one of them True, required, found {mask}"
        )
    return found


def _with_masks(info: Mapping[str, np.ndarray], told: np.ndarray) -> dict[str, Any]:
    """Adds Gymnasium's masks: which environments say something; nothing where none does."""
    if not told.any():
        return {}
    return {**info, **{f"_{k}": told.copy() for k in info}}


def _objects(observation: Any, rows: np.ndarray) -> np.ndarray:
    """Returns last observations as Gymnasium keeps them: one object per environment, or None."""
    found = np.full(len(rows), None, dtype=object)
    for row in np.flatnonzero(rows).tolist():
        found[row] = row_of(observation, row)
    return found


def row_of(observation: Any, row: int) -> Any:
    """Returns one environment's observation out of a batch."""
    if isinstance(observation, dict):
        return {k: v[row].copy() for k, v in observation.items()}
    return observation[row].copy()
