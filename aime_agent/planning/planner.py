"""Plans by sampling: refine a Gaussian over action sequences by what the world model says of them.

    a^i ~ clip N(μ, σ²)  or from the actor                          i = 1 … P
    S^i = Σ_{k<H} γ_0…γ_{k−1} (r_{k+1} − β d_k) + γ_0…γ_{H−1} v(s_H),    γ_k = γ P(goes on after k+1)
    w   = weighting(S);    μ, σ ← moments of a under w;    σ ← max(σ, σ_min)

r, the continuation and s are imagined, v is the learned critic, d the disagreement of bootstrapped
heads (a penalty as in Yu et al., 2020, arXiv:2005.13239). Actor proposals, elites and the terminal
value follow TD-MPC (Hansen et al., 2022, arXiv:2203.04955). All environments and all sequences are
one batch; noise is an argument, so N environments plan as N single ones do.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from aime_agent.errors import ConfigError
from aime_agent.functional.returns import n_step_return
from aime_agent.planning.config import PlannerConfig
from aime_agent.planning.weighting import elite_weights, exponential_weights, weighted_moments
from aime_agent.world_model.state import Belief, Trajectory, bare_belief, map_tree, stack_beliefs


@runtime_checkable
class World(Protocol):
    """What a planner asks of a world model; `AimeWorldModel` has it."""

    config: Any
    """With ``action_dim`` and ``latent_dim``."""

    def rollout(
        self, belief: Belief, policy: Any, horizon: int, noise: Any, temperature: float
    ) -> Trajectory:
        """Imagines ``horizon`` steps."""
        ...

    def reward(self, belief: Belief) -> Tensor:
        """Expected reward that arrives with a belief."""
        ...

    def continuation(self, belief: Belief) -> Tensor:
        """Probability that the episode goes on after it."""
        ...


class Guides(NamedTuple):
    """What was learned beside the world model; each may be missing."""

    act: Callable[[Tensor, Tensor], Tensor] | None = None
    """Features ``[R, F]`` and normal noise ``[R, A]`` to the actor's actions ``[R, A]``."""
    value: Callable[[Tensor], Tensor] | None = None
    """Features ``[R, F]`` to values ``[R]``."""
    disagreement: Callable[[Belief, Tensor], Tensor] | None = None
    """Beliefs ``[R, …]`` and actions ``[R, A]`` taken there to disagreement ``[R]``."""


class PlanNoise(NamedTuple):
    """Standard normal noise of one decision; all that is random in it."""

    proposals: Float[Tensor, "N I P H A"]
    """Of the Gaussian's sequences, iteration by iteration."""
    actor: Float[Tensor, "N Q H A"]
    """Of the actor's."""
    dream: Float[Tensor, "N H z"]
    """Of the latents; the same for all sequences of an environment."""
    component: Float[Tensor, "N H"]
    """Uniform noise that picks the prior's component; the same for all sequences too."""
    action: Float[Tensor, "N A"]
    """Of the action that is taken, where it is drawn."""


class Plan(NamedTuple):
    """What a decision ended with."""

    mean: Float[Tensor, "N H A"]
    std: Float[Tensor, "N H A"]
    score: Float[Tensor, "N"]
    """Mean score of the last proposals under their weights."""


class Planner:
    """Plans from beliefs; holds no state.

    Args:
        world: The world model.
        guides: Actor, critic and disagreement, as far as there are any.
        discount: γ of one action.
        config: Settings.
        bounds: Lowest and highest action ``[A]``, where less than [-1, 1] is allowed.

    Raises:
        ConfigError: the settings ask for a guide that is missing, or bounds are none.
    """

    def __init__(
        self,
        world: World,
        guides: Guides,
        discount: float,
        config: PlannerConfig | None = None,
        bounds: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        self.world = world
        self.guides = guides
        self.discount = discount
        self.config = c = config or PlannerConfig()
        width = world.config.action_dim
        self.low, self.high = bounds or (-torch.ones(width), torch.ones(width))
        if not 0 <= discount <= 1:
            raise ConfigError(f"discount must be in [0, 1], found {discount}")
        if self.low.shape != (width,) or not bool((self.low < self.high).all()):
            raise ConfigError(
                f"bounds must be two vectors of {width} actions, low below high, found "
                f"{self.low.tolist()} and {self.high.tolist()}"
            )
        self._need("act", c.from_actor > 0, "actor_share=0")
        self._need("value", c.terminal_value, "terminal_value=False")
        self._need("disagreement", c.penalty > 0, "penalty=0")

    def _need(self, guide: str, asked: bool, remedy: str) -> None:
        if asked and getattr(self.guides, guide) is None:
            raise ConfigError(f"guides.{guide} is missing, and the planner needs it; set {remedy}")

    @torch.no_grad()
    def plan(self, belief: Belief, mean: Float[Tensor, "N H A"], noise: PlanNoise) -> Plan:
        """Refines action sequences for each environment.

        Args:
            belief: What is believed now, one row per environment.
            mean: Where the proposals start: zeros, or the last plan shifted.
            noise: See `draw_noise`.
        """
        c = self.config
        mean = self._within(mean)
        std = torch.full_like(mean, c.start_std)
        start = _repeated(belief, c.samples - c.from_actor)
        whole = _repeated(belief, c.samples) if c.from_actor else start
        kept: tuple[Tensor, Tensor] | None = None
        for i in range(c.iterations):
            actions = self._within(mean[:, None] + std[:, None] * noise.proposals[:, i])
            actions, scores = self._imagined(whole if i == 0 else start, actions, noise, i == 0)
            if kept is not None:
                # The dream is the same in all iterations, and so are the actor's scores.
                actions = torch.cat([actions, kept[0]], dim=1)
                scores = torch.cat([scores, kept[1]], dim=1)
            if c.from_actor:
                kept = actions[:, -c.from_actor :], scores[:, -c.from_actor :]
            weights = self._weights(scores)
            mean, std = weighted_moments(actions, weights)
            std = std.clamp(min=c.min_std)
        return Plan(mean, std, (weights * scores).sum(1))

    def act(self, plan: Plan, noise: PlanNoise, deterministic: bool) -> Float[Tensor, "N A"]:
        """Returns the first action of a plan: its mean, or a draw around it."""
        action = plan.mean[:, 0]
        if not deterministic:
            action = action + plan.std[:, 0] * noise.action
        return self._within(action)

    def _within(self, actions: Tensor) -> Tensor:
        return actions.clamp(self.low.to(actions), self.high.to(actions))

    def _weights(self, scores: Float[Tensor, "N P"]) -> Float[Tensor, "N P"]:
        c = self.config
        if c.method == "cem":
            return elite_weights(scores, c.elites)
        return exponential_weights(scores, c.elites, c.temperature)

    def _imagined(
        self, start: Belief, given: Float[Tensor, "N P H A"], noise: PlanNoise, with_actor: bool
    ) -> tuple[Float[Tensor, "N R H A"], Float[Tensor, "N R"]]:
        """Plays given sequences, and the actor's after them; returns all with their scores."""
        c, envs = self.config, given.shape[0]
        rows = start.z.shape[0] // envs
        policy: Any = given.flatten(0, 1)
        if with_actor and rows > given.shape[1]:
            policy = self._joint_policy(given, noise.actor)
        shared = (_each(noise.dream, rows), _each(noise.component, rows))
        path = self.world.rollout(start, policy, c.horizon, shared, c.dream_temperature)
        scores = self._scores(start, path)
        return path.actions.unflatten(0, (envs, rows)), scores.unflatten(0, (envs, rows))

    def _joint_policy(
        self, given: Float[Tensor, "N P H A"], noise: Float[Tensor, "N Q H A"]
    ) -> Callable[[Tensor], Tensor]:
        """A policy for a rollout: the first P rows of an environment are told, Q ask the actor."""
        act, steps = self.guides.act, iter(range(self.config.horizon))
        envs, told = given.shape[:2]

        def policy(features: Tensor) -> Tensor:
            k = next(steps)
            asking = features.unflatten(0, (envs, -1))[:, told:]
            free = act(asking.flatten(0, 1), noise[:, :, k].flatten(0, 1))  # type: ignore[misc]
            free = self._within(free).unflatten(0, (envs, -1))
            return torch.cat([given[:, :, k], free], dim=1).flatten(0, 1)

        return policy

    def _scores(self, start: Belief, path: Trajectory) -> Float[Tensor, "R"]:
        """Discounted imagined rewards, less the penalty, and the value of where it ends."""
        c = self.config
        beliefs = stack_beliefs(path.beliefs)
        rewards = self.world.reward(beliefs)
        if c.penalty:
            rewards = rewards - c.penalty * self._doubts(start, path)
        value = rewards.new_zeros(rewards.shape[0])
        if c.terminal_value and self.guides.value is not None:
            value = self.guides.value(path.features[:, -1])
        return n_step_return(rewards, self.discount * self.world.continuation(beliefs), value)

    def _doubts(self, start: Belief, path: Trajectory) -> Float[Tensor, "R H"]:
        """Disagreement about what each action leads to."""
        disagreement = self.guides.disagreement
        before = [start, *path.beliefs[:-1]]
        taken = path.actions.unbind(1)
        found = [disagreement(b, a) for b, a in zip(before, taken, strict=True)]  # type: ignore[misc]
        return torch.stack(found, dim=1)


def draw_noise(
    world: World, config: PlannerConfig, generator: torch.Generator | None = None
) -> PlanNoise:
    """Draws the noise of one environment's decision, with a leading dimension of 1.

    The first proposal of every iteration has none: the mean itself is tried. So has the actor's
    first: a plan scores the actor's likeliest actions too.
    """
    c, width = config, world.config.action_dim

    def normal(*shape: int) -> Tensor:
        return torch.randn(1, *shape, generator=generator)

    proposals = normal(c.iterations, c.samples - c.from_actor, c.horizon, width)
    actor = normal(c.from_actor, c.horizon, width)
    proposals[:, :, :1] = 0
    actor[:, :1] = 0
    component = torch.rand(1, c.horizon, generator=generator)
    dream = normal(c.horizon, world.config.latent_dim)
    return PlanNoise(proposals, actor, dream, component, normal(width))


def shift(mean: Float[Tensor, "N H A"]) -> Float[Tensor, "N H A"]:
    """Returns the plan one action later, its end filled with zeros: the next warm start.

    >>> shift(torch.tensor([[[1.0], [2.0], [3.0]]])).flatten()
    tensor([2., 3., 0.])
    """
    return torch.cat([mean[:, 1:], torch.zeros_like(mean[:, :1])], dim=1)


def _each(x: Tensor, count: int) -> Tensor:
    """Repeats each row ``count`` times, one after the other."""
    return x.repeat_interleave(count, 0)


def _repeated(belief: Belief, count: int) -> Belief:
    """Every row ``count`` times, with what the recurrence needs alone."""
    state = belief.state
    bare = bare_belief(state.hidden, state.cell, belief.z, belief.context_hat, belief.context)
    return map_tree(lambda x: _each(x, count), bare)
