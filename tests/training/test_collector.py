import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

from aime_agent.data.replay import ReplayBuffer
from aime_agent.data.shard import Layout
from aime_agent.data.storage import ShardStore
from aime_agent.errors import CheckpointError, DataError
from aime_agent.training.collector import Collector, VectorLane
from aime_agent.training.seeding import episode_seed, numpy_rng


@pytest.fixture
def make(toy, tmp_path):
    def collector(name="a", count=2):
        store = ShardStore(tmp_path / name, Layout((32, 32, 3), 2, 64), count)
        return Collector([toy.lane(None, i) for i in range(count)], ReplayBuffer(store), seed=3)

    return collector


def play(collector, rounds, start=0):
    finished = []
    for k in range(start, start + rounds):
        size = (len(collector.lanes), 2)
        collector.send(numpy_rng(0, "test", k).uniform(-1, 1, size).astype(np.float32))
        finished += collector.receive()
    return finished


def test_rows_follow_the_storage_convention(make):
    collector = make(count=1)
    collector.reset()
    play(collector, 60)
    steps = collector.replay.store.read_steps(0)
    starts = np.flatnonzero(steps["is_first"])
    assert (steps["reward"][starts] == 0).all()
    assert (steps["action"][starts[1:] - 1] == 0).all()
    ends = np.append(starts[1:], len(steps)) - 1
    assert steps["terminated"][ends].any()
    assert not np.delete(steps["terminated"], ends).any()


def test_stored_episode_repeats_in_a_fresh_environment(make, toy):
    collector = make(count=1)
    collector.reset()
    play(collector, 30)
    episode = next(iter(collector.replay.episodes(0)))
    env = toy.ToyEnv()
    assert np.array_equal(env.reset(seed=episode_seed(3, 0, 0))[0], episode.frames[0])
    for t in range(len(episode) - 1):
        frame, reward, *_ = env.step(episode.actions[t])
        assert np.array_equal(frame, episode.frames[t + 1])
        assert np.float32(reward) == episode.rewards[t + 1]


def test_finished_episodes_report_their_return(make):
    collector = make(count=1)
    collector.reset()
    finished = play(collector, 60)
    episodes = list(collector.replay.episodes(0))
    assert [f.episode for f in finished] == list(range(len(finished)))
    for done, episode in zip(finished, episodes, strict=False):
        assert done.length == len(episode) - 1
        assert done.total_reward == pytest.approx(episode.total_reward, abs=1e-4)


def test_restored_collector_goes_on_bit_for_bit(make):
    whole, part = make("whole"), make("part")
    whole.reset()
    part.reset()
    play(whole, 70)
    play(part, 25)
    saved, replay_state = part.state(), part.replay.store.sync()
    again = make("again")
    assert again.restore(*saved)
    store = ShardStore(part.replay.store.folder, Layout((32, 32, 3), 2, 64), 2, state=replay_state)
    again.replay = ReplayBuffer(store)
    play(again, 45, start=25)
    assert store.state() == whole.replay.store.state()
    assert again.state()[0] == whole.state()[0]


def test_other_pixels_are_noticed(make):
    collector = make()
    collector.reset()
    play(collector, 3)
    state, tensors = collector.state()
    tensors["frames"] = tensors["frames"] ^ 1
    assert not make("b").restore(state, tensors)
    with pytest.raises(CheckpointError, match="1 environments required, found 2"):
        make("c", count=1).restore(state, tensors)


def test_number_of_environments_changes_no_episode(make):
    one, two = make("one", 1), make("two", 2)
    for collector in (one, two):
        collector.reset()
        for _ in range(20):
            collector.send(np.zeros((len(collector.lanes), 2), np.float32))
            collector.receive()
    assert one.replay.store.state()["streams"][0] == two.replay.store.state()["streams"][0]


def test_a_lane_in_its_own_process_equals_one_in_this(toy):
    here = toy.lane(None, 0)
    there = VectorLane(
        AsyncVectorEnv([toy.ToyEnv], context="fork", autoreset_mode=AutoresetMode.DISABLED)
    )
    actions = np.full((5, 2), 0.3, np.float32)
    assert np.array_equal(here.fast_forward(4, actions), there.fast_forward(4, actions))
    for lane in (here, there):
        lane.send(actions[0])
    one, two = here.receive(), there.receive()
    assert np.array_equal(one.frame, two.frame)
    assert one[1:] == two[1:]
    there.close()


def test_wrong_spaces_are_named():
    envs = SyncVectorEnv([lambda: gymnasium.make("Pendulum-v1")])
    with pytest.raises(DataError, match="observation: a uint8 Box"):
        VectorLane(envs)


def test_dead_process_is_explained(toy):
    envs = AsyncVectorEnv([toy.ToyEnv], context="fork", autoreset_mode=AutoresetMode.DISABLED)
    lane = VectorLane(envs)
    lane.reset(0)
    envs.processes[0].kill()
    envs.processes[0].join()
    with pytest.raises(DataError, match="go on with --resume"):  # noqa: PT012 (either may notice)
        lane.send(np.zeros(2, np.float32))
        lane.receive()
    lane.close()
