"""The learned world keeps Gymnasium's contract, and dreams what the model dreams."""

import warnings

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from laws import randomised
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from aime_agent.data.episode import Episode
from aime_agent.data.replay import ReplayBuffer
from aime_agent.data.shard import Layout
from aime_agent.data.storage import ShardStore
from aime_agent.envs.latent import LatentWorldEnv
from aime_agent.envs.latent_starts import array_clips, live_clips, stored_clips
from aime_agent.envs.latent_vector import LatentVectorEnv
from aime_agent.errors import ConfigError, DataError
from aime_agent.functional.returns import two_hot_quantile
from aime_agent.world_model.belief_filter import LIMIT
from aime_agent.world_model.model import AimeWorldModel
from aime_agent.world_model.presets import preset

SIDE, ACTIONS, HORIZON = 32, 2, 4


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = preset("tiny", image_size=SIDE, action_dim=ACTIONS, perceiver={"window": 3})
    model = AimeWorldModel(config)
    model.begin(torch.rand(32, 3, SIDE, SIDE))
    return randomised(model, 0.15).eval()


@pytest.fixture(scope="module")
def frames():
    return np.random.default_rng(0).integers(0, 256, (6, 1, SIDE, SIDE, 3), dtype=np.uint8)


@pytest.fixture
def make(model, frames):
    """Returns a function that makes N dreams from six single frames."""

    def make(num_envs=3, mode=AutoresetMode.NEXT_STEP, **settings):
        settings = {"horizon": HORIZON, "start": frames, "terminate": False} | settings
        return LatentVectorEnv(num_envs, model, mode, **settings)

    return make


@pytest.fixture
def make_one(model, frames):
    def make(**settings):
        settings = {"horizon": HORIZON, "start": frames, "terminate": False} | settings
        return LatentWorldEnv(model, **settings)

    return make


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Two episodes of ten frames; every pixel of row t of episode k is 10 k + t."""
    folder = tmp_path_factory.mktemp("data") / "films"
    replay = ReplayBuffer(ShardStore(folder, Layout((SIDE, SIDE, 3), ACTIONS, 64)))
    for k in range(2):
        values = np.arange(10)
        replay.add_episode(0, Episode(
            frames=np.broadcast_to(np.uint8(10 * k + values)[:, None, None, None], (10, SIDE, SIDE, 3)),
            actions=np.repeat(np.float32(values / 10)[:, None], ACTIONS, 1),
            rewards=np.zeros(10, np.float32),
            terminated=values == 9,
        ))  # fmt: skip
    replay.store.sync()
    return folder


def same(actual, expected, atol=1e-5):
    if isinstance(expected, dict):
        assert actual.keys() == expected.keys()
        for key in expected:
            same(actual[key], expected[key], atol)
    elif expected.dtype == object:
        for a, b in zip(actual, expected, strict=True):
            assert (a is None) == (b is None)
            if b is not None:
                same(a, b, atol)
    else:
        assert actual.shape == expected.shape
        assert actual.dtype == expected.dtype
        np.testing.assert_allclose(actual, expected, atol=atol)


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
@pytest.mark.parametrize("kind", ["belief", "slots", "objects"])
def test_a_batch_equals_gymnasiums_vector_of_singles(make, make_one, mode, kind):
    ours = make(3, mode, observation=kind)
    singles = SyncVectorEnv([lambda: make_one(observation=kind)] * 3, autoreset_mode=mode)
    assert ours.observation_space == singles.observation_space
    assert ours.action_space == singles.action_space
    same(ours.reset(seed=5)[0], singles.reset(seed=5)[0])
    rng = np.random.default_rng(1)
    for _ in range(2 * HORIZON + 3):
        actions = rng.uniform(-1, 1, (3, ACTIONS)).astype(np.float32)
        for part, expected in zip(ours.step(actions), singles.step(actions), strict=True):
            same(part, _float32(expected))


def _float32(value):
    """Gymnasium gathers single floats of infos in float64; ours stay float32."""
    if isinstance(value, dict):
        names = ("stochasticity", "disagreement")
        return {k: v.astype(np.float32) if k in names else _float32(v) for k, v in value.items()}
    return value


def test_gymnasium_resets_by_mask_and_refuses_finished_episodes(make):
    env = make(3, AutoresetMode.DISABLED)
    first, _ = env.reset(seed=1)
    action = np.zeros((3, ACTIONS), np.float32)
    for _ in range(HORIZON):
        last, _, _, truncated, _ = env.step(action)
    assert truncated.all()
    with pytest.raises(ResetNeeded, match=r"\[0, 1, 2\]"):
        env.step(action)
    mask = np.array([True, False, True])
    again, _ = env.reset(seed=1, options={"reset_mask": mask})
    same(again[mask], first[mask])
    same(again[1], last[1])
    with pytest.raises(ResetNeeded, match=r"\[1\]"):
        env.step(action)


def test_dreams_are_the_models_own(make, model, frames):
    """Temperature 0 from given frames is `predict_future`'s deterministic path."""
    rng = np.random.default_rng(2)
    clip = rng.integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)
    between = rng.uniform(-1, 1, (2, ACTIONS)).astype(np.float32)
    actions = rng.uniform(-1, 1, (HORIZON, ACTIONS)).astype(np.float32)
    env = make(1, temperature=0.0)
    env.reset(options={"frames": clip, "actions": between})
    rewards = [float(env.step(a[None])[1][0]) for a in actions]
    expected = model.predict_future(
        torch.from_numpy(clip).permute(0, 3, 1, 2)[None],
        torch.from_numpy(between)[None],
        future_actions=torch.from_numpy(actions)[None],
        deterministic=True,
    )
    np.testing.assert_allclose(rewards, expected.rewards[0], atol=1e-5)
    assert np.std(rewards) > 1e-3


def test_same_seed_same_dream_other_seed_other_dream(make_one):
    def dream(seed):
        env = make_one()
        start, _ = env.reset(seed=seed)
        return np.stack([start, *(env.step(np.zeros(ACTIONS))[0] for _ in range(HORIZON))])

    assert np.array_equal(dream(1), dream(1))
    assert not np.allclose(dream(1), dream(2))


def test_actions_steer_the_dream(make):
    env = make(2)
    env.reset(seed=[3, 3])
    obs, rewards, *_ = env.step(np.array([[1, 1], [-1, -1]], np.float32))
    assert not np.allclose(obs[0], obs[1])
    assert rewards[0] != rewards[1]


def test_episodes_end_at_the_horizon_or_by_the_continuation_head(make, model):
    env = make(2)
    env.reset(seed=0)
    ends = [env.step(np.zeros((2, ACTIONS)))[3].all() for _ in range(HORIZON)]
    assert ends == [False] * (HORIZON - 1) + [True]
    env = make(2, terminate=True)
    env.reset(seed=0)
    _, _, terminated, _, _ = env.step(np.zeros((2, ACTIONS)))
    assert (terminated == (model.continuation(env.belief).detach().numpy() < 0.5)).all()


def test_nothing_is_decoded_unless_somebody_looks(make, model, monkeypatch):
    calls = []
    decoder = type(model.decoder)
    plain = decoder.patches
    monkeypatch.setattr(decoder, "patches", lambda *a: calls.append(1) or plain(*a))
    env = make(2, render_mode="rgb_array")
    env.reset(seed=0)
    for _ in range(HORIZON + 2):
        env.step(np.zeros((2, ACTIONS)))
    assert not calls
    pictures = env.render()
    assert len(calls) == 1
    assert [p.shape for p in pictures] == [(SIDE, SIDE, 3)] * 2
    assert make(2).render() is None


def test_overlay_glows_where_attention_is_highest(make, model):
    plain, marked = (make(1, render_mode="rgb_array", overlay=o) for o in (False, True))
    for env in (plain, marked):
        env.reset(seed=0)
    change = np.abs(plain.render()[0].astype(int) - marked.render()[0]).sum(-1)
    assert change.max() > 20


def test_stochasticity_is_the_entropy_of_the_mixture(make):
    env = make(3, observation="slots")
    env.reset(seed=0)
    info = env.step(np.zeros((3, ACTIONS)))[-1]
    found = info["stochasticity"]
    state = env.belief.state
    log_pi = env.model.prior_at(state.hidden, state.context_hat, state.action).log_pi
    np.testing.assert_allclose(found, -(log_pi.exp() * log_pi).sum(-1).detach(), atol=1e-5)
    assert info["_stochasticity"].all()


def test_a_reward_is_drawn_by_the_inverse_of_its_distribution():
    bins = torch.tensor([-1.0, 0.0, 2.0])
    logits = torch.tensor([0.2, 0.5, 0.3]).log().expand(4, 3)
    drawn = two_hot_quantile(logits, bins, torch.tensor([0.1, 0.21, 0.69, 0.71]))
    assert drawn.tolist() == [-1.0, 0.0, 0.0, 2.0]


def test_sampled_rewards_are_bins_of_the_head(make, model):
    env = make(3, reward="sample")
    env.reset(seed=0)
    rewards = env.step(np.zeros((3, ACTIONS)))[1]
    assert all(np.isclose(model.reward_head.bins.numpy(), r).any() for r in rewards)


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (np.full((2, ACTIONS), np.nan), "finite and within"),
        (np.full((2, ACTIONS), 1.5), r"\[1.5, 1.5\] in environment 0"),
        (np.zeros((2, 3)), r"shape \(2, 2\), found \(2, 3\)"),
    ],
)
def test_bad_actions_are_refused_and_nothing_is_lost(make, actions, message):
    env = make(2)
    before, _ = env.reset(seed=0)
    with pytest.raises(DataError, match=message):
        env.step(actions)
    good = make(2)
    good.reset(seed=0)
    zero = np.zeros((2, ACTIONS))
    same(env.step(zero)[0], good.step(zero)[0])
    assert np.abs(before).max() <= LIMIT


def test_starts_come_from_stored_episodes_and_stay_inside_them(dataset):
    clips = stored_clips(dataset, 40, 4, 0)
    values = clips.frames[..., 0, 0, 0].astype(int)
    assert clips.frames.shape == (40, 4, SIDE, SIDE, 3)
    assert (np.diff(values, axis=1) == 1).all()
    assert (values[:, 0] // 10 == values[:, -1] // 10).all()
    assert set(values[:, 0] // 10) == {0, 1}
    np.testing.assert_allclose(clips.actions[..., 0], values[:, :-1] % 10 / 10, atol=1e-6)
    with pytest.raises(DataError, match="at least 11 frames required, found 10"):
        stored_clips(dataset, 1, 11, 0)


class Counter(gym.Env):
    """Shows how many steps were taken; episodes of 20 steps."""

    observation_space = gym.spaces.Dict(
        {"pixels": gym.spaces.Box(0, 255, (SIDE, SIDE, 3), np.uint8)}
    )
    action_space = gym.spaces.Box(-1, 1, (ACTIONS,), np.float32)

    def reset(self, *, seed=None, options=None):
        self.t = 0
        return self._seen(), {}

    def step(self, action):
        self.t += 1
        return self._seen(), 0.0, False, self.t == 20, {}

    def _seen(self):
        return {"pixels": np.full((SIDE, SIDE, 3), self.t, np.uint8)}


def test_starts_come_from_a_live_environment(make):
    clips = live_clips(Counter(), 30, 5, 0)
    values = clips.frames[..., 0, 0, 0].astype(int)
    assert clips.frames.shape[:2] == (30, 5)
    assert clips.actions.shape == (30, 4, ACTIONS)
    assert (np.diff(values, axis=1) == 1).all()
    assert make(2, start=Counter(), num_starts=7).bank.size == 7


def test_ids_make_single_and_batched_dreams(saved, dataset):
    settings = {"checkpoint": saved, "start": str(dataset), "horizon": 3, "num_starts": 5}
    env = gym.make("aime_agent:AIME/LatentWorld-v0", **settings)
    vector = gym.make_vec("AIME/LatentWorld-v0", num_envs=2, **settings)
    assert isinstance(env.unwrapped, LatentWorldEnv)
    assert isinstance(vector, LatentVectorEnv)
    assert vector.bank.size == 5
    same(vector.reset(seed=4)[0][0], env.reset(seed=4)[0])


@pytest.mark.parametrize("settings", [{}, {"observation": "objects"}, {"render_mode": "rgb_array"}])
def test_checkers_find_nothing(saved, dataset, settings):
    settings = {"checkpoint": saved, "start": str(dataset), "num_starts": 5} | settings
    env = gym.make("AIME/LatentWorld-v0", **settings).unwrapped
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env)
        sb3_check_env(env)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"horizon": 0}, "horizon must be at least 1, found 0"),
        ({"reward": "max"}, "reward must be 'mean' or 'sample'"),
        ({"temperature": -1.0}, "temperature must be at least 0"),
        ({"observation": "pixels"}, "observation 'pixels' is unknown"),
        ({"horizn": 3}, "horizon"),
        ({"render_mode": "human"}, "render_mode must be None or 'rgb_array'"),
        ({"start": None}, "belongs to no run"),
        ({"start": "live"}, "needs a run folder"),
    ],
)
def test_bad_settings_are_refused(make, settings, message):
    with pytest.raises(ConfigError, match=message):
        make(2, **settings)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"frame": 0}, ConfigError, "frames"),
        (
            {"frames": np.zeros((2, SIDE, SIDE, 3), np.uint8)},
            DataError,
            "1 actions between 2 frames",
        ),
        ({"frames": np.zeros((1, 8, 8, 3), np.uint8)}, DataError, "of the world model required"),
        ({"frames": np.zeros((3, 1, SIDE, SIDE, 3), np.uint8)}, DataError, "1 or 2 windows"),
        ({"frames": np.zeros((1, SIDE, SIDE, 3))}, DataError, "uint8"),
        ({"reset_mask": np.zeros(2, bool)}, DataError, "at least one of them True"),
    ],
)
def test_bad_options_are_refused(make, options, error, message):
    with pytest.raises(error, match=message):
        make(2).reset(options=options)


def test_a_given_window_serves_all_and_one_each_is_kept_apart(make, frames):
    env = make(3)
    first, _ = env.reset(options={"frames": frames[0]})
    same(first[0], first[2])
    own, _ = env.reset(options={"frames": frames[:3]})
    same(own[0], first[0])
    assert not np.allclose(own[0], own[1])


def test_steps_before_the_first_reset_are_refused(make):
    with pytest.raises(ResetNeeded):
        make(2).step(np.zeros((2, ACTIONS)))
    assert array_clips(np.zeros((1, 8, 8, 3), np.uint8), None, 4).actions.shape == (1, 0, 4)
