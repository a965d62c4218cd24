"""Wrapped environments show what `forward_sequence` believes of the same frames, ends included."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from laws import randomised
from stable_baselines3.common.env_checker import check_env as check_sb3
from stable_baselines3.common.vec_env import DummyVecEnv

from aime_agent.envs.belief_spaces import belief_space
from aime_agent.envs.beliefs import BeliefObservation, BeliefVecEnv, BeliefVector
from aime_agent.envs.sb3_vec import VectorToSB3
from aime_agent.errors import CheckpointError, ConfigError
from aime_agent.world_model.belief_filter import LIMIT
from aime_agent.world_model.frozen import WorldRef, freeze
from aime_agent.world_model.model import AimeWorldModel
from aime_agent.world_model.presets import preset

SIDE, ACTIONS, STEPS = 32, 2, 11


class Film(gym.Env):
    """Random frames; episode k of an environment lasts 3 + k % 3 actions. Keeps all that happened."""

    observation_space = spaces.Box(0, 255, (SIDE, SIDE, 3), np.uint8)
    action_space = spaces.Box(-1, 1, (ACTIONS,), np.float32)
    metadata = {"render_modes": []}  # noqa: RUF012
    render_mode = None

    def __init__(self, dictionary=False):
        self.dictionary, self.episodes, self.count = dictionary, [], 0
        if dictionary:
            state = spaces.Box(-1, 1, (1,), np.float32)
            self.observation_space = spaces.Dict({"pixels": Film.observation_space, "state": state})

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = 3 + self.count % 3
        self.count += 1
        self.episodes.append(([], []))
        return self.frame(), {}

    def step(self, action):
        self.episodes[-1][1].append(np.array(action))
        self.left -= 1
        return self.frame(), 1.0, False, self.left == 0, {}

    def frame(self):
        frame = self.np_random.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        self.episodes[-1][0].append(frame)
        return {"pixels": frame, "state": np.zeros(1, np.float32)} if self.dictionary else frame


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = AimeWorldModel(preset("tiny", image_size=SIDE, action_dim=ACTIONS))
    model.begin(torch.rand(32, 3, SIDE, SIDE))
    return randomised(model, 0.15).eval()


def believed(model, episode):
    """What the whole-sequence pass believes of an episode's frames."""
    frames, actions = episode
    rows = np.zeros((len(frames), ACTIONS), np.float32)
    rows[: len(actions)] = np.reshape(actions, (-1, ACTIONS))
    first = torch.zeros(1, len(frames), dtype=torch.bool)
    first[0, 0] = True
    with torch.no_grad():
        out = model.forward_sequence(
            torch.from_numpy(np.stack(frames)).movedim(-1, 1)[None],
            torch.from_numpy(rows)[None],
            first,
        )
    return out.beliefs.features[0].clamp(-LIMIT, LIMIT).numpy()


def actions_of(n=2):
    return np.random.default_rng(3).uniform(-1, 1, (STEPS, n, ACTIONS)).astype(np.float32)


def compare(model, films, seen):
    """``seen[i]`` are the beliefs of environment i, ends of episodes before first frames."""
    for film, rows in zip(films, seen, strict=True):
        expected = np.concatenate([believed(model, episode) for episode in film.episodes])
        assert len(film.episodes) > 2
        np.testing.assert_allclose(np.stack(rows), expected, atol=2e-4)


@pytest.mark.parametrize("dictionary", [False, True], ids=["pixels", "dict"])
def test_single_environment_equals_the_whole_sequence(model, dictionary):
    film = Film(dictionary)
    env = BeliefObservation(film, model)
    seen = [env.reset(seed=0)[0]]
    for action in actions_of(1)[:, 0]:
        observation, _, _, truncated, _ = env.step(action)
        seen.append(observation)
        if truncated:
            seen.append(env.reset()[0])
    compare(model, [film], [seen])


def vector(model, mode):
    films = [Film(), Film()]
    films[1].count = 1
    inner = SyncVectorEnv([lambda: films[0], lambda: films[1]], autoreset_mode=mode)
    return BeliefVector(inner, model), films


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_vector_environment_equals_the_whole_sequence(model, mode):
    env, films = vector(model, mode)
    observation, _ = env.reset(seed=0)
    seen = [[observation[i]] for i in range(2)]
    for actions in actions_of():
        observation, _, _, truncated, info = env.step(actions)
        for i in range(2):
            if mode == AutoresetMode.SAME_STEP and truncated[i]:
                seen[i].append(info["final_obs"][i])
            seen[i].append(observation[i])
        if mode == AutoresetMode.DISABLED and truncated.any():
            before = observation
            observation, _ = env.reset(options={"reset_mask": truncated})
            np.testing.assert_array_equal(observation[~truncated], before[~truncated])
            for i in np.flatnonzero(truncated):
                seen[i].append(observation[i])
    compare(model, films, seen)


@pytest.mark.parametrize("through", ["dummy", "adapter", "adapter of beliefs"])
def test_sb3_environment_equals_the_whole_sequence(model, through):
    if through == "dummy":
        films = [Film(), Film()]
        env = BeliefVecEnv(DummyVecEnv([lambda: films[0], lambda: films[1]]), model)
    else:
        wrapped, films = vector(model, AutoresetMode.SAME_STEP)
        of_beliefs = through == "adapter of beliefs"
        env = VectorToSB3(wrapped) if of_beliefs else BeliefVecEnv(VectorToSB3(wrapped.env), model)
    env.seed(0)
    seen = [[row] for row in env.reset()]
    for actions in actions_of():
        observation, _, dones, infos = env.step(actions)
        for i in range(2):
            if dones[i]:
                seen[i].append(infos[i]["terminal_observation"])
            seen[i].append(observation[i])
    compare(model, films, seen)


@pytest.mark.filterwarnings("ignore:.*different from the unwrapped version")  # as it should be
@pytest.mark.parametrize("kind", ["belief", "slots", "objects"])
def test_both_checkers_are_content(model, kind):
    env = BeliefObservation(Film(), model, observation=kind)
    check_env(env, skip_render_check=True)
    check_sb3(env)
    assert env.observation_space == belief_space(model.config, kind)


def test_beliefs_are_the_same_every_time(model):
    env = BeliefObservation(Film(), model)
    action = np.zeros(ACTIONS, np.float32)
    runs = [[env.reset(seed=1)[0], env.step(action)[0]] for _ in range(2)]
    np.testing.assert_array_equal(*runs)


def test_another_world_is_refused(model):
    env = BeliefObservation(Film(), model)
    assert env.world_hash == freeze(model).digest
    BeliefObservation(Film(), env.world, world_hash=env.world_hash)
    with pytest.raises(CheckpointError, match=rf"0123, found {env.world_hash}"):
        BeliefVecEnv(DummyVecEnv([Film]), model, world_hash="0123")


def test_other_frames_and_actions_are_refused(model):
    class Big(Film):
        observation_space = spaces.Box(0, 255, (64, 64, 3), np.uint8)

    class Button(Film):
        action_space = spaces.Discrete(2)

    film = Film()
    film.reset()
    with pytest.raises(ConfigError, match="image_size=32"):
        BeliefObservation(Big(), model)
    with pytest.raises(ConfigError, match="trained with 2 actions"):
        BeliefObservation(Button(), model)
    with pytest.raises(ConfigError, match="reset before the first step"):
        BeliefObservation(film, model).step(np.zeros(ACTIONS, np.float32))


def test_frozen_model_is_a_copy_that_stands_still(model):
    reference = freeze(model)
    kept = reference.model()
    assert kept is freeze(model).model()
    assert kept is not model
    assert not any(p.requires_grad for p in kept.parameters())


def test_frozen_model_is_found_again_by_its_path_and_no_other_passes(model, tmp_path, monkeypatch):
    model.save_pretrained(tmp_path)
    reference = freeze(tmp_path)
    monkeypatch.setattr("aime_agent.world_model.frozen._MODELS", {})
    assert reference.model() is reference.model()
    with pytest.raises(CheckpointError, match=r"world model 42"):
        WorldRef("42", str(tmp_path)).model()
    with pytest.raises(CheckpointError, match="no path"):
        WorldRef("42").model()
