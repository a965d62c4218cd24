import numpy as np
import pytest
import torch

from aime_agent.errors import CheckpointError, DataError
from aime_agent.training import checkpoint
from aime_agent.training.config import TrainConfig
from aime_agent.training.parts import Parts, default_evaluation
from aime_agent.training.runfolder import RunFolder
from aime_agent.training.train import _assemble


@pytest.fixture
def make(toy, tmp_path):
    made = []

    def trainer(**settings):
        config = TrainConfig(task="toy", **(toy.SETTINGS | {"frames": 160} | settings))
        folder = RunFolder(tmp_path / f"run{len(made)}", TrainConfig)
        folder.start(config)
        made.append(_assemble(Parts(config, toy.FACTORIES), folder, None))
        return made[-1]

    yield trainer
    for one in made:
        one.close()


def spy(trainer):
    """Records what the agent is asked for, in order."""
    calls, agent = [], trainer.agent
    for name in ("begin", "act", "update"):
        original = getattr(agent, name)

        def spied(*args, name=name, original=original):
            calls.append(name)
            return original(*args)

        setattr(agent, name, spied)
    return calls


def test_order_is_prefill_begin_pretrain_then_alternate(make):
    trainer = make()
    calls = spy(trainer)
    assert trainer.run()
    assert calls[0] == "begin"
    assert calls[1:8] == ["update"] * 7
    assert calls[8:14] == ["act", "act", "update", "act", "act", "update"]


def test_number_of_updates_follows_the_ratio(make):
    trainer = make(train_every=3, updates_per_round=2)
    trainer.run()
    rounds = [k for k in range(160 // 4) if k >= 100 // 4 and k % 3 == 0]
    assert trainer.updates == 7 + 2 * len(rounds)


def test_first_action_of_the_policy_starts_from_nothing(make):
    trainer, seen = make(), []
    original = trainer.agent.act
    trainer.agent.act = lambda o, s, first, step: (seen.append(first), original(o, s, first, step))[
        1
    ]
    trainer.run()
    assert seen[0].all()
    assert not seen[1].all()


def test_not_finite_actions_are_refused(make):
    trainer = make()
    trainer.agent.act = lambda o, s, first, step: (np.full((2, 2), np.nan, np.float32), s)
    with pytest.raises(DataError, match="after update 7 are not finite"):
        trainer.run()


def test_checkpoint_of_other_settings_is_refused(make):
    one, two = make(), make(seed=5)
    one.run()
    saved = checkpoint.load(checkpoint.latest(one.run_folder.path))
    with pytest.raises(CheckpointError, match="other settings"):
        two.restore(saved)


def test_restore_brings_back_the_global_generator(make):
    one, two = make(), make()
    one.run()
    state = torch.get_rng_state()
    torch.rand(3)
    two.restore(checkpoint.load(checkpoint.latest(one.run_folder.path)))
    assert torch.equal(torch.get_rng_state(), state)


def test_no_evaluation_is_asked_for_without_episodes():
    assert default_evaluation(TrainConfig(task="toy", eval_episodes=0)) is None
    assert default_evaluation(TrainConfig(task="toy")) is not None
