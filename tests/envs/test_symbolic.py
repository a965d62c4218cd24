"""`AIME/SymbolicDiscovery-v0`: the contract, gate zero, masks, observations, pictures."""

import pickle
import warnings
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_for_sb3

import aime_agent  # noqa: F401  (registers the id)
from aime_agent.envs.dmc_laws import measured
from aime_agent.envs.symbolic import SymbolicDiscoveryEnv
from aime_agent.envs.symbolic_observation import node_features, rank_correlation
from aime_agent.errors import ConfigError
from aime_agent.symbolic import find_task, parse
from aime_agent.symbolic.catalogue import TASKS
from aime_agent.symbolic.evaluate import evaluate
from aime_agent.symbolic.vocabulary import ID, NUM_TOKENS

ID_ = "AIME/SymbolicDiscovery-v0"


ADVICE = "unconventional shape"
"""SB3 advises to flatten tables; nodes and rows stay tables for policies that attend to them."""


def play(env, tokens, seed=0):
    """Plays a law; each of its tokens must be allowed."""
    env.reset(seed=seed)
    for token in tokens:
        assert env.unwrapped.action_masks()[token]
        step = env.step(token)
    return step


@pytest.mark.parametrize("settings", [{}, {"observation": "flat"}, {"suite": "nguyen"}])
def test_checkers_find_nothing(settings):
    env = gymnasium.make(ID_, **settings)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(env.unwrapped)
        check_for_sb3(env.unwrapped)
    found = [str(warning.message) for warning in caught]
    assert [text for text in found if ADVICE not in text] == []


@pytest.mark.parametrize("name", TASKS)
def test_gate_zero_the_true_law_is_legal_and_has_full_reward(name):
    env = SymbolicDiscoveryEnv(name)
    law = TASKS[name].expression.tokens
    _, reward, terminated, truncated, info = play(env, law)
    assert terminated
    assert not truncated
    assert info["nrmse"] < 1e-9
    assert reward == pytest.approx(1.0 - 0.01 * len(law) / env.max_nodes)
    assert info["unit_ok"]
    assert info["fits"]
    assert info["nrmse_test"] < 1e-9


def test_the_played_law_is_recognised():
    env = SymbolicDiscoveryEnv("kepler")
    play(env, find_task("kepler").expression.tokens)
    assert env.recognise().equal


def test_rewards_come_at_the_end_alone():
    env = SymbolicDiscoveryEnv("nguyen_1")
    env.reset(seed=0)
    assert env.step(ID["sin"])[1:3] == (0.0, False)
    _, reward, terminated, _, info = env.step(ID["x0"])
    x = env.samples.inputs[0]
    error = np.sqrt(np.mean((np.sin(x) - env.samples.target) ** 2)) / env.samples.target.std()
    assert reward == pytest.approx(1 / (1 + error) - 0.01 * 2 / 30)
    assert terminated
    assert info["expression"] == "sin(x)"


@pytest.mark.parametrize("action", [ID["x9"], ID["tanh"], NUM_TOKENS, -1])
def test_illegal_actions_end_the_episode_with_nothing(action):
    env = SymbolicDiscoveryEnv("kepler_orbit")
    env.reset(seed=0)
    observation, reward, terminated, _, info = env.step(action)
    assert (reward, terminated, info["invalid_action"]) == (0.0, True, True)
    assert env.observation_space.contains(observation)
    with pytest.raises(ResetNeeded, match="reset"):
        env.step(ID["x0"])


def test_random_legal_play_always_ends_complete():
    env = gymnasium.make(ID_, suite="laws")
    rng = np.random.default_rng(0)
    for episode in range(5):
        observation, info = env.reset(seed=None if episode else 0)
        terminated = False
        while not terminated:
            mask = env.unwrapped.action_masks()
            np.testing.assert_array_equal(mask, info["action_mask"])
            np.testing.assert_array_equal(mask, observation["action_mask"])
            observation, reward, terminated, truncated, info = env.step(
                rng.choice(np.flatnonzero(mask))
            )
            assert not truncated
            assert env.observation_space.contains(observation)
        assert info["unit_ok"]
        assert 0.0 <= reward <= 1.0
        assert info["complexity"] <= env.unwrapped.max_nodes


def test_rows_depend_on_the_seed_alone():
    first, second = SymbolicDiscoveryEnv("kepler"), SymbolicDiscoveryEnv("kepler")
    a, b = first.reset(seed=3)[0], second.reset(seed=3)[0]
    np.testing.assert_array_equal(a["data"], b["data"])
    np.testing.assert_array_equal(first.reset()[0]["data"], a["data"])
    assert not np.array_equal(first.reset(seed=4)[0]["data"], a["data"])


def test_tasks_are_drawn_and_set():
    env = SymbolicDiscoveryEnv(suite="laws")
    names = {env.reset(seed=i or None)[1]["task"] for i in (1, *[0] * 14)}
    assert len(names) > 4
    assert env.reset(options={"task": "harmonic_oscillator"})[1]["task"].endswith("energy")
    own = replace(find_task("kepler"), name="mine")
    assert env.reset(options={"task": own})[1]["task"] == "mine"


def test_node_features_by_hand():
    law = parse("x*sin(y)", ["x", "y"], ("mul", "sin"))
    nodes = node_features(law.tokens[:3], 4)
    mul, x, sin = (token / NUM_TOKENS for token in law.tokens[:3])
    np.testing.assert_allclose(
        nodes,
        [
            [1, mul, 1, 0, 0, 0, 0, 1],
            [1, x, 0, 1 / 4, 1 / 4, 0.5, 0, 0],
            [1, sin, 0.5, 1 / 4, 1 / 4, 1, 0.5, 1],
            [0] * 8,
        ],
        atol=1e-7,
    )


def test_observation_names_what_is_around_the_slot_and_its_unit():
    env = SymbolicDiscoveryEnv("kepler_orbit")
    env.reset(seed=0)
    for token in ("div", "mul", "x2"):
        observation, *_ = env.step(ID[token])
    around = [int(observation[key]) for key in ("parent", "sibling", "previous")]
    assert around == [ID["mul"], ID["x2"], ID["x2"]]
    assert observation["scalars"][4] == 0
    observation, *_ = env.step(ID["x3"])
    # G·M is m³/s² and the target m/s²: the divisor must be m².
    assert observation["scalars"][4] == 1
    np.testing.assert_allclose(observation["required_unit"], [2 / 8, 0, 0, 0, 0, 0, 0])
    np.testing.assert_allclose(observation["variables"][2, 2:5], [3 / 8, -2 / 8, -1 / 8])


def test_data_are_standardised_and_correlations_ranked():
    observation, _ = SymbolicDiscoveryEnv("nguyen_1", data_rows=20).reset(seed=0)
    np.testing.assert_allclose(observation["data"].mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(observation["data"][:, [0, 10]].std(0), 1, atol=1e-5)
    assert (observation["data"][:, 1:10] == 0).all()
    assert observation["variables"][0, 1] == pytest.approx(
        rank_correlation(observation["data"][:, 0], observation["data"][:, 10])
    )
    assert rank_correlation(np.array([1.0, 3.0, 2.0, 4.0]), np.arange(4.0)) == 0.8


def test_flat_observation_is_the_nodes():
    env = SymbolicDiscoveryEnv("kepler", max_nodes=16, observation="flat")
    assert env.observation_space.shape == (128,)
    env.reset(seed=0)
    observation, *_ = env.step(ID["div"])
    np.testing.assert_array_equal(observation, node_features((ID["div"],), 16).ravel())


@pytest.mark.parametrize("name", ["dmc_pendulum_accel", "dmc_point_mass_accel"])
def test_mujoco_obeys_the_stated_laws(name):
    task = find_task(name)
    rows = measured(task, 50, np.random.default_rng(0))
    law = task.expression
    np.testing.assert_allclose(
        evaluate(law.tokens, rows.inputs, law.constants), rows.target, rtol=0, atol=1e-12
    )


def test_measured_rows_can_be_played():
    env = SymbolicDiscoveryEnv("dmc_pendulum_accel", measured=True)
    info = play(env, find_task("dmc_pendulum_accel").expression.tokens)[-1]
    assert info["nrmse"] < 1e-12
    np.testing.assert_allclose(info["constants"], [4.905 / 0.251, 0.1 / 0.251, 1 / 0.251])


def test_text_shows_the_open_slots():
    env = SymbolicDiscoveryEnv("kepler_orbit", render_mode="ansi")
    env.reset(seed=0)
    env.step(ID["div"])
    assert env.render().splitlines() == [
        "kepler_orbit: a = ?", "… / …".replace(" ", ""), "div", "├─ …", "└─ …",
    ]  # fmt: skip


def test_pictures_differ_with_the_tree_and_with_attention():
    env = SymbolicDiscoveryEnv("kepler_orbit", render_mode="rgb_array")
    env.reset(seed=0)
    empty = env.render()
    env.step(ID["div"])
    env.step(ID["x3"])
    plain = env.render()
    env.show_attention(np.array([0.1, 0.9, 0.0]))
    hot = env.render()
    assert empty.shape == plain.shape == hot.shape == (480, 640, 3)
    assert not np.array_equal(empty, plain)
    # Amber is where the heavier node is, and nowhere without attention.
    amber = (hot[..., 0] > 230) & (hot[..., 1] > 140) & (hot[..., 2] < 60)
    assert amber.any()
    assert not ((plain[..., 0] > 230) & (plain[..., 1] > 140) & (plain[..., 2] < 60)).any()


def test_environment_is_pickled_with_its_settings():
    env = SymbolicDiscoveryEnv("kepler", max_nodes=12, units=False)
    copy = pickle.loads(pickle.dumps(env))
    assert (copy.task.name, copy.max_nodes, copy.config) == ("kepler_orbit", 12, env.config)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": "keplr_orbit"}, r"'keplr_orbit'.*'kepler_orbit'"),
        ({"suite": "law"}, r"'law'.*'laws'"),
        ({"task": "kepler", "suite": "laws"}, "one of task, suite and tasks"),
        ({"task": "kepler", "max_nodes": 4}, r"needs max_nodes of at least 6, found 4"),
        ({"task": "kepler", "measured": True}, "cannot be measured"),
        ({"observation": "tree"}, "observation must be one of"),
        ({"render_mode": "human"}, "render_mode must be ansi or rgb_array"),
        ({"data_rows": 0}, "data_rows must be at least 1"),
        ({"unit": True}, r"no setting 'unit'.*'units'"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        SymbolicDiscoveryEnv(**arguments)


def test_wrong_options_are_refused():
    env = SymbolicDiscoveryEnv("kepler")
    with pytest.raises(ConfigError, match="option 'task'"):
        env.reset(options={"law": "kepler"})
    with pytest.raises(ConfigError, match="finished law"):
        env.recognise()


def test_maskable_ppo_trains_on_it():
    sb3_contrib = pytest.importorskip("sb3_contrib")
    env = gymnasium.make(ID_, task="feynman_I.12.1", max_nodes=7)
    model = sb3_contrib.MaskablePPO(
        "MultiInputPolicy", env, n_steps=64, batch_size=64, n_epochs=1, seed=0, device="cpu",
        policy_kwargs={"net_arch": [16]},
    ).learn(256)  # fmt: skip
    observation, _ = env.reset(seed=0)
    done = False
    while not done:
        action, _ = model.predict(observation, action_masks=env.unwrapped.action_masks())
        observation, _, done, _, info = env.step(action)
    assert "invalid_action" not in info
