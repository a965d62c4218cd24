"""The training loop. Counters alone decide what happens next, never the clock.

    prefill     random actions until ``prefill_frames``
    pretrain    ``pretrain_updates`` updates, no acting
    alternate   send actions · updates on frames ≤ t · receive what came back

Between two of these steps everything is in `Trainer.save`'s checkpoint, and a run that goes on from
there repeats, bit for bit on the CPU, what the interrupted run did or would have done.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float32, UInt8
from torch import Tensor

from aime_agent import distributed
from aime_agent.data.replay import ReplayBuffer
from aime_agent.data.storage import shard_names
from aime_agent.errors import CheckpointError, DataError
from aime_agent.structs import Batch
from aime_agent.training import checkpoint
from aime_agent.training.checkpoint import Checkpoint
from aime_agent.training.collector import Collector
from aime_agent.training.config import TrainConfig
from aime_agent.training.interrupts import Wish, listening
from aime_agent.training.learning import Clock, Learning, passed
from aime_agent.training.loggers import Logger, Record, logger_lengths
from aime_agent.training.runfolder import RunFolder, machine, warn_if_changed
from aime_agent.training.seeding import numpy_rng
from aime_agent.training.trees import leaves, rebuild


@runtime_checkable
class Agent(Protocol):
    """What the trainer asks of an agent. Its noise must depend on (seed, step) only."""

    def initial_state(self, batch_size: int) -> Any:
        """Returns the acting state before the first observation: a tree of tensors."""

    def act(
        self,
        observations: UInt8[np.ndarray, "N H W C"],
        state: Any,
        is_first: Bool[np.ndarray, " N"],
        step: int,
        deterministic: bool = False,
    ) -> tuple[Float32[np.ndarray, "N A"], Any]:
        """Returns actions in [-1, 1] and the next acting state."""

    def begin(self, frames: UInt8[Tensor, "N C H W"]) -> None:
        """Initialises what depends on data, once, before the first update."""

    def update(self, batch: Batch, step: int) -> Mapping[str, float | Tensor]:
        """Learns from a batch; returns scalars to average and tensors to show as histograms."""

    def images(self, batch: Batch) -> Mapping[str, UInt8[np.ndarray, "H W C"]]:
        """Returns pictures of what the model sees."""

    def state_dict(self) -> dict[str, Tensor]:
        """Returns everything that learning changes."""

    def load_state_dict(self, tensors: dict[str, Tensor]) -> None:
        """Takes it back."""

    def config_dict(self) -> dict[str, Any]:
        """Returns the agent's configuration as JSON values."""


class Trainer:
    """Runs, saves and continues one training run.

    Args:
        config: Settings of the run.
        agent: What learns and acts.
        collector: Environments and, through it, the replay.
        run: Where everything is written.
        loggers: Where metrics go.
        evaluate: Called with the agent; returns scores. Must use environments of its own.
    """

    def __init__(
        self,
        config: TrainConfig,
        agent: Agent,
        collector: Collector,
        run: RunFolder[TrainConfig],
        loggers: list[Logger],
        evaluate: Callable[[Any], Mapping[str, float]] | None = None,
    ) -> None:
        self.config = config
        self.agent = agent
        self.collector = collector
        self.replay: ReplayBuffer = collector.replay
        self.run_folder = run
        self.loggers = loggers
        self.learning = Learning(config, agent, self._learn, self.replay, loggers, self._log)
        self.rounds = 0
        self.wish = Wish()
        self._evaluate = evaluate
        self._acted = False
        self._acting = agent.initial_state(config.num_envs)
        self._saved = -1
        self._clock = Clock()
        self._last_mark = (0.0, 0)

    @property
    def frames(self) -> int:
        """Control steps collected so far."""
        return self.rounds * self.config.frames_per_round

    @property
    def updates(self) -> int:
        """Updates done so far."""
        return self.learning.updates

    def run(self) -> bool:
        """Trains until ``config.frames``; returns False if a signal ended it earlier.

        Raises:
            CheckpointError: the disk is full.
        """
        if self.rounds == 0:
            self.collector.reset()
        self._clock.start()
        with listening(self.wish), checkpoint.explained_full_disk("training"):
            while self.frames < self.config.frames and not self._asked_to_stop():
                before = self.frames
                self._step()
                self._periodic(before)
            finished = self.frames >= self.config.frames
            if self._saved != self.frames:
                self.save()
        return finished

    def save(self) -> Path:
        """Writes a checkpoint, then deletes old ones and the shards only they needed."""
        collected, tensors = self.collector.state()
        acting = {f"collector.{k}": v for k, v in tensors.items()}
        acting |= {f"policy.{i:03d}": v for i, v in enumerate(leaves(self._acting))}
        acting["torch_rng"] = torch.get_rng_state()
        trainer = {
            **self.learning.state(),
            "rounds": self.rounds,
            "frames": self.frames,
            "acted": self._acted,
            "collector": collected,
            "replay": self.replay.store.sync(),
            "logs": logger_lengths(self.loggers),
            "config_hash": self.config.fixed_hash(),
            "machine": machine(),
            "clock": {"elapsed": self._clock.seconds()},
        }
        folder = checkpoint.save(
            self.run_folder.checkpoints / f"step_{self.frames:09d}",
            Checkpoint(self.agent.state_dict(), acting, self.agent.config_dict(), trainer),
        )
        kept = checkpoint.prune(self.run_folder.path, self.config.keep_checkpoints)
        states = [checkpoint.trainer_state(path) for path in kept]
        self.replay.store.collect({n for s in states if s for n in shard_names(s["replay"])})
        self._saved = self.frames
        return folder

    def restore(self, saved: Checkpoint) -> bool:
        """Goes back to a checkpoint; the replay and the loggers were opened at it already.

        Returns:
            Whether every environment showed the same frame again, bit for bit.

        Raises:
            CheckpointError: it belongs to other settings or to another agent.
        """
        state = saved.trainer
        if state["config_hash"] != self.config.fixed_hash():
            raise CheckpointError("the checkpoint was made with other settings than config.json")
        warn_if_changed(state["machine"])
        self.rounds = state["rounds"]
        self.learning.restore(state)
        self._acted = state["acted"]
        elapsed = state["clock"]["elapsed"]
        self._clock = Clock(elapsed)
        self._last_mark = (elapsed, self.frames)
        self._saved = self.frames
        self.agent.load_state_dict(saved.agent)
        policy = [saved.acting[k] for k in sorted(saved.acting) if k.startswith("policy.")]
        self._acting = rebuild(self._acting, policy)
        same = self.collector.restore(
            state["collector"],
            {k.removeprefix("collector."): v for k, v in saved.acting.items()},
        )
        torch.set_rng_state(saved.acting["torch_rng"])
        return same

    def close(self) -> None:
        """Closes the files of replay and logs; the environments belong to the caller."""
        self.replay.store.close()
        for logger in self.loggers:
            logger.close()

    def _asked_to_stop(self) -> bool:
        """Whether a signal came, to this process or to another: all of them stop at one frame."""
        with distributed.together():
            return bool(distributed.total(torch.tensor(float(bool(self.wish)))))

    def _step(self) -> None:
        """Does one update of the pretraining, or lets every environment act once."""
        c = self.config
        if self.frames < c.prefill_frames:
            self._round(self._random_actions(), updates=0)
        elif self.updates < c.pretrain_updates:
            self.learning.update()
        else:
            due = self.rounds % c.train_every == 0
            self._round(self._act(), updates=c.updates_per_round if due else 0)

    def _round(self, actions: Float32[np.ndarray, "N A"], updates: int) -> None:
        self.collector.send(actions)
        for _ in range(updates):
            self.learning.update()
        finished = self.collector.receive()
        self.rounds += 1
        for episode in finished:
            values = {
                "env": float(episode.env),
                "episode": float(episode.episode),
                "return": episode.total_reward,
                "length": float(episode.length),
            }
            self._log("episode", values)

    def _learn(self, batch: Batch, step: int) -> Mapping[str, float | Tensor]:
        return self.agent.update(batch, step)

    def _random_actions(self) -> Float32[np.ndarray, "N A"]:
        rng = numpy_rng(self.config.seed, "prefill", self.rounds)
        size = (self.config.num_envs, self.collector.lanes[0].action_dim)
        return rng.uniform(-1.0, 1.0, size).astype(np.float32)

    def _act(self) -> Float32[np.ndarray, "N A"]:
        """Asks the agent; its first call starts from the initial state even inside an episode."""
        is_first = self.collector.is_first | (not self._acted)
        actions, self._acting = self.agent.act(
            self.collector.frames, self._acting, is_first, self.rounds
        )
        self._acted = True
        if not np.isfinite(actions).all():
            raise DataError(
                f"the agent's actions after update {self.updates} are not finite: {actions}"
            )
        return actions

    def _periodic(self, before: int) -> None:
        """Evaluates and saves where the frames just passed a multiple of the interval."""
        c = self.config
        if self.frames == before:
            return
        end = self.frames >= c.frames
        if end or passed(before, self.frames, c.eval_every_frames):
            self._score()
        if end or passed(before, self.frames, c.checkpoint_every):
            self.save()

    def _score(self) -> None:
        if self._evaluate is None:
            return
        with torch.random.fork_rng(devices=[]):
            scores = self._evaluate(self.agent)
        self._log("eval", scores)

    def _log(self, kind: str, values: Mapping[str, float]) -> None:
        now = self._clock.seconds()
        then, frames = self._last_mark
        clock = {"elapsed": now}
        if self.frames > frames:
            clock["frames_per_second"] = (self.frames - frames) / max(now - then, 1e-9)
        if kind == "train":
            self._last_mark = (now, self.frames)
        record = Record(kind, self.updates, self.frames, values, clock)
        for logger in self.loggers:
            logger.log(record)
