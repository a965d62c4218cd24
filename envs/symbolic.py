"""``AIME/SymbolicDiscovery-v0``: write a law, node by node, and be paid for how well it fits.

A state is an unfinished expression tree; an action is the token for its first open slot, in prefix
order. `SymbolicDiscoveryEnv.action_masks` says what is allowed (sb3-contrib's MaskablePPO asks for it
by this name), and never nothing, so every episode ends with a complete law. The reward comes
at the end: 1 / (1 + NRMSE) less a little for size (`aime_agent.symbolic.score`), constants being fitted.
An action against the mask ends the episode with reward 0.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.utils import EzPickle
from jaxtyping import Bool, Float, Float32, Int8, UInt8

from aime_agent.configs import override
from aime_agent.envs import dmc_laws
from aime_agent.envs.episodes import task_option
from aime_agent.envs.symbolic_observation import (
    NODE_FEATURES,
    draft_observation,
    observation_space,
    task_observation,
)
from aime_agent.errors import ConfigError
from aime_agent.symbolic.catalogue import find_suite, find_task
from aime_agent.symbolic.equivalence import Algebra, Verdict, recognise
from aime_agent.symbolic.evaluate import evaluate
from aime_agent.symbolic.grammar import Draft, Grammar
from aime_agent.symbolic.picture import draw_tree
from aime_agent.symbolic.samples import Samples
from aime_agent.symbolic.score import COMPLEXITY_COST, SUCCESS, Score, Scorer, nrmse
from aime_agent.symbolic.tasks import PhysicsTask
from aime_agent.symbolic.tree import Expression, draw_ascii, infix
from aime_agent.symbolic.units import parse_unit, unit_of
from aime_agent.symbolic.vocabulary import NUM_TOKENS

Observation = dict[str, Any] | Float32[np.ndarray, "_"]
FORMS = ("dict", "flat")
_TEST_ROWS = 100


@dataclass(frozen=True, kw_only=True)
class SymbolicConfig:
    """What is to be found, and what is seen of it.

    Args:
        suite: Draw a task of this suite for every episode (laws, dmc, feynman, nguyen).
        tasks: Draw from these tasks instead.
        units: Whether units must fit; None for wherever a task has some.
        noise: Whether the target is disturbed by the task's noise level.
        measured: Rows from MuJoCo instead of the formula, for the suite ``dmc``.
        max_nodes: Largest law; None for the tasks' own.
        observed_nodes: The observation has room for at least so many, so that environments of
            different tasks look alike to one policy.
        observation: ``dict``, or ``flat`` for the nodes' features as one vector
            (16 nodes make the 128 numbers of the seed's policy).
        data_rows: Rows of data in the observation.
        complexity_cost: What the longest law loses of its reward.
    """

    suite: str | None = None
    tasks: tuple[str | PhysicsTask, ...] = ()
    units: bool | None = None
    noise: bool = False
    measured: bool = False
    max_nodes: int | None = None
    observed_nodes: int = 0
    observation: str = "dict"
    data_rows: int = 32
    complexity_cost: float = COMPLEXITY_COST

    def __post_init__(self) -> None:
        if self.observation not in FORMS:
            raise ConfigError(f"observation must be one of {FORMS}, found {self.observation!r}")
        if self.data_rows < 1:
            raise ConfigError(f"data_rows must be at least 1, found {self.data_rows}")
        if self.measured and self.noise:
            raise ConfigError("measured rows have no noise: give one of measured and noise")


class _Begun(NamedTuple):
    """What a task is judged by until the next seed."""

    scorer: Scorer
    test: Samples
    seen: dict[str, Any]
    """The part of the observation that stays the same."""


class SymbolicDiscoveryEnv(gymnasium.Env[Any, Any], EzPickle):
    """``gymnasium.make("AIME/SymbolicDiscovery-v0", task="kepler_orbit")``.

    Args:
        task: A task or its name; the seed's names work too. None for the settings' suite or
            tasks, or for the harmonic oscillator if there are none.
        config: Settings; keywords override them.
        render_mode: None, ``ansi`` or ``rgb_array``.
        **overrides: Fields of `SymbolicConfig`.

    Raises:
        ConfigError: an argument is unknown, or the node limit is too small for a task's law.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi", "rgb_array"], "render_fps": 4}  # noqa: RUF012

    def __init__(
        self,
        task: str | PhysicsTask | None = None,
        config: SymbolicConfig | None = None,
        render_mode: str | None = None,
        **overrides: Any,
    ) -> None:
        EzPickle.__init__(self, task, config, render_mode, **overrides)
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ConfigError(f"render_mode must be ansi or rgb_array, found {render_mode!r}")
        self.config = c = override(config or SymbolicConfig(), **overrides)
        self.tasks = _chosen(task, c)
        longest = max(t.max_nodes for t in self.tasks)
        self.max_nodes = c.max_nodes or max(c.observed_nodes, longest)
        self.render_mode = render_mode
        self.action_space = spaces.Discrete(NUM_TOKENS)
        full = observation_space(self.max_nodes, c.data_rows)
        flat = spaces.Box(0.0, 1.0, (self.max_nodes * NODE_FEATURES,), np.float32)
        self.observation_space = full if c.observation == "dict" else flat
        self._grammars: dict[str, Grammar] = {}
        self._begun: dict[str, _Begun] = {}
        self._task = self.tasks[0]
        self._draft: Draft | None = None
        self._score: Score | None = None
        self._attention: Float[np.ndarray, _] | None = None
        for known in self.tasks:
            self._grammar_of(known)

    @property
    def task(self) -> PhysicsTask:
        """The task of this episode."""
        return self._task

    @property
    def score(self) -> Score | None:
        """The finished law with its constants and worth; None before the end."""
        return self._score

    @property
    def samples(self) -> Samples:
        """The rows that the law must fit."""
        return self._started().scorer.samples

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begins a law; a seed draws new rows.

        Args:
            seed: Of rows and tasks.
            options: ``{"task": name or PhysicsTask}`` sets the task of this episode.

        Raises:
            ConfigError: another option, or a task that needs more nodes than there are.
        """
        super().reset(seed=seed)
        options = task_option(options)
        if seed is not None:
            self._begun.clear()
        if "task" in options:
            self._task = _as_task(options["task"])
        elif len(self.tasks) > 1 or self._draft is None:
            self._task = self.tasks[int(self.np_random.integers(len(self.tasks)))]
        self._draft = self._grammar_of(self._task).begin()
        self._score = self._attention = None
        return self._observation(), self._info()

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Fills the first open slot with a token."""
        draft = self._draft
        if draft is None or draft.complete or self._score is not None:
            raise ResetNeeded("the law is finished: call reset() before step()")
        token = int(action)
        if not (0 <= token < NUM_TOKENS and self.action_masks()[token]):
            info = self._info() | {"invalid_action": True}
            self._score = Score(Expression(draft.finished), np.inf, 0.0, 0)
            return self._observation(), 0.0, True, False, info
        draft.place(token)
        if not draft.complete:
            return self._observation(), 0.0, False, False, self._info()
        self._score = self._started().scorer(draft.finished)
        return self._observation(), self._score.reward, True, False, self._final_info(self._score)

    def action_masks(self) -> Bool[np.ndarray, "V"]:
        """Returns which tokens may come next; all of them once the law is finished."""
        draft = self._draft
        if draft is None or draft.complete:
            return np.ones(NUM_TOKENS, bool)
        return draft.options().mask.copy()

    def recognise(self) -> Verdict:
        """Says whether the finished law is the true one, by algebra; takes up to some seconds."""
        if self._score is None:
            raise ConfigError("recognise needs a finished law")
        with Algebra() as algebra:
            return recognise(self._task, self._score.expression, algebra)

    def show_attention(self, weights: Float[np.ndarray, "_"] | None) -> None:
        """Gives the picture one weight per node (more are cut), until the next reset."""
        self._attention = weights

    def render(self) -> str | UInt8[np.ndarray, "H W 3"] | None:
        """Returns the tree as text or picture."""
        if self.render_mode is None:
            return None
        tokens = () if self._draft is None else self._draft.finished
        shown = Expression(tokens) if self._score is None else self._score.expression
        names = self._task.names
        worth = "" if self._score is None else f"   reward {self._score.reward:.4f}"
        caption = f"{self._task.name}: {self._task.target} = ?{worth}"
        if self.render_mode == "ansi":
            return f"{caption}\n{infix(shown, names)}\n{draw_ascii(shown, names)}\n"
        weights = self._attention
        shares = None if weights is None or not tokens else weights[: len(tokens)]
        return draw_tree(shown, names, shares, caption)

    def _grammar_of(self, task: PhysicsTask) -> Grammar:
        """Returns the rules of a task, whose true law must fit them."""
        c = self.config
        if task.name not in self._grammars:
            if c.measured and not dmc_laws.can_measure(task):
                raise ConfigError(f"task {task.name!r} cannot be measured: leave measured off")
            law = task.expression
            if law is not None and len(law.tokens) > self.max_nodes:
                raise ConfigError(
                    f"task {task.name!r} needs max_nodes of at least {len(law.tokens)}, "
                    f"found {self.max_nodes}"
                )
            use = task.use_units if c.units is None else c.units and task.use_units
            self._grammars[task.name] = _shared_grammar(task, use, self._limit(task))
        return self._grammars[task.name]

    def _limit(self, task: PhysicsTask) -> int:
        """Returns the most nodes of a law: the settings' or, without, the task's own."""
        return self.config.max_nodes or min(task.max_nodes, self.max_nodes)

    def _started(self) -> _Begun:
        """Returns what the task is judged by, drawn on first use."""
        task, c = self._task, self.config
        if task.name not in self._begun:
            rng = self.np_random
            if c.measured:
                rows = dmc_laws.measured(task, task.rows, rng)
            else:
                rows = task.generate_data(noise=c.noise, rng=rng)
            test = task.generate_data(_TEST_ROWS, rng=rng)
            scorer = Scorer(rows, self._limit(task), rng, c.complexity_cost)
            seen = task_observation(task, rows, c.data_rows)
            self._begun[task.name] = _Begun(scorer, test, seen)
        return self._begun[task.name]

    def _observation(self) -> Observation:
        draft = self._grammar_of(self._task).begin() if self._draft is None else self._draft
        seen = draft_observation(draft, self.max_nodes)
        if self.config.observation == "flat":
            return seen["nodes"].ravel()
        fixed = {key: value.copy() for key, value in self._started().seen.items()}
        return {**seen, **fixed, "action_mask": self._mask_numbers()}

    def _mask_numbers(self) -> Int8[np.ndarray, "V"]:
        return self.action_masks().astype(np.int8)

    def _info(self) -> dict[str, Any]:
        draft = self._draft
        prior = np.ones(NUM_TOKENS) if draft is None or draft.complete else draft.options().prior
        return {
            "task": self._task.name,
            "action_mask": self._mask_numbers(),
            "action_prior": prior.astype(np.float32),
        }

    def _final_info(self, score: Score) -> dict[str, Any]:
        """Returns what is known of a finished law."""
        task, law = self._task, score.expression
        test = self._started().test
        unit = unit_of(law.tokens, task.input_units) if task.use_units else None
        return self._info() | {
            "expression": infix(law, task.names),
            "tokens": law.tokens,
            "constants": law.constants,
            "complexity": len(law.tokens),
            "nrmse": score.nrmse,
            "nrmse_test": nrmse(evaluate(law.tokens, test.inputs, law.constants), test.target),
            "unit_ok": not task.use_units or unit == parse_unit(task.unit),
            "fits": score.nrmse < SUCCESS,
        }


@lru_cache(maxsize=512)
def _shared_grammar(task: PhysicsTask, units: bool, max_nodes: int) -> Grammar:
    """Rules do not change, and what units allow takes a while to find out: once per process."""
    return task.grammar(units, max_nodes)


def _chosen(task: str | PhysicsTask | None, config: SymbolicConfig) -> tuple[PhysicsTask, ...]:
    """Returns the tasks that one of three arguments names."""
    if (task is not None) + (config.suite is not None) + bool(config.tasks) > 1:
        raise ConfigError("give one of task, suite and tasks")
    if config.suite is not None:
        return find_suite(config.suite)
    if config.tasks:
        return tuple(_as_task(each) for each in config.tasks)
    return (_as_task("harmonic_oscillator_energy" if task is None else task),)


def _as_task(task: str | PhysicsTask) -> PhysicsTask:
    return find_task(task) if isinstance(task, str) else task
