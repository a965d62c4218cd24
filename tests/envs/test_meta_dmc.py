"""`AIME/MetaDMC-v0`: every family steps, rewards by hand, changed models, what stays hidden."""

import pickle
import warnings
from pathlib import Path
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_for_sb3

from aime_agent.envs import meta_rewards
from aime_agent.envs.make import make_env, make_vector
from aime_agent.envs.meta_dmc import MetaDMCEnv, MetaTasks
from aime_agent.envs.meta_tasks import FAMILIES, MetaTask, family_tasks
from aime_agent.envs.suite import SUITE_TASKS, task_id
from aime_agent.errors import ConfigError

DOC = (Path(__file__).parents[2] / "docs" / "environments.md").read_text(encoding="utf-8")
ALLOWED = ("minimum value is -infinity", "maximum value is infinity")
DYNAMICS = [name for name in FAMILIES if name.endswith("-dynamics")]
GOALS = [name for name in FAMILIES if name.endswith("-goal")]


@pytest.fixture
def make():
    made = []

    def build(family, task=None, **settings):
        made.append(MetaDMCEnv(family, task, action_repeat=1, **settings))
        return made[-1]

    yield build
    for env in made:
        env.close()


def play(env, seed=0, steps=6):
    rng = np.random.default_rng(seed)
    seen, rewards = [env.reset(seed=seed)[0]], []
    for _ in range(steps):
        observation, reward, *_ = env.step(rng.uniform(-1, 1, env.action_space.shape))
        seen.append(observation)
        rewards.append(reward)
    return np.array(seen), np.array(rewards)


@pytest.mark.parametrize("family", FAMILIES)
def test_checkers_find_nothing(family):
    env = gymnasium.make("AIME/MetaDMC-v0", family=family, max_steps=20)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(env.unwrapped, skip_render_check=True)
        check_for_sb3(env.unwrapped)
    env.close()
    found = [str(warning.message) for warning in caught]
    assert [text for text in found if not any(allowed in text for allowed in ALLOWED)] == []


@pytest.mark.parametrize("family", [name for name in FAMILIES if name not in DYNAMICS])
def test_the_value_shows_in_rewards_and_in_no_observation(make, family):
    first, second = family_tasks(family, "train")[:2]
    # Long enough for the cheetah to move forwards, which alone is rewarded.
    seen, rewards = play(make(family, first), steps=60)
    other_seen, other_rewards = play(make(family, second), steps=60)
    np.testing.assert_array_equal(seen, other_seen)
    assert not np.array_equal(rewards, other_rewards)


@pytest.mark.parametrize("family", DYNAMICS)
def test_dynamics_show_in_motion_alone(make, family):
    first, second = family_tasks(family, "train")[:2]
    seen, other_seen = play(make(family, first))[0], play(make(family, second))[0]
    np.testing.assert_array_equal(seen[0], other_seen[0])
    assert not np.isclose(seen[1:], other_seen[1:]).all(1).any()


def test_the_reacher_observes_no_way_to_its_target(make):
    # Two angles and two velocities; the suite's six numbers have the vector to the target as well.
    assert make("reacher-goal").observation_space.shape == (4,)


def standing(height, upright, velocity, control=0.0):
    """A physics that reports what rewards ask for."""
    return SimpleNamespace(
        torso_height=lambda: height, head_height=lambda: height, torso_upright=lambda: upright,
        horizontal_velocity=lambda: velocity[0], speed=lambda: velocity[0],
        center_of_mass_velocity=lambda: np.array(velocity), control=lambda: np.full(3, control),
    )  # fmt: skip


@pytest.mark.parametrize(("speed", "wanted", "reward"), [
    (3.0, 3.0, 1.0), (1.5, 3.0, 0.5), (4.5, 3.0, 0.5), (0.0, 3.0, 0.0), (6.5, 3.0, 0.0),
    (0.4, 0.2, 0.8),
])  # fmt: skip
def test_velocity_rewards_by_hand(speed, wanted, reward):
    physics = standing(1.5, 1.0, (speed, 0.0, 0.0))
    assert meta_rewards.cheetah_velocity(physics, (wanted,)) == pytest.approx(reward)
    expected = (5 * reward + 1) / 6
    assert meta_rewards.walker_velocity(physics, (wanted,)) == pytest.approx(expected)
    assert meta_rewards.humanoid_velocity(physics, (wanted,)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("angle", "reward"), [(np.pi / 2, 1.0), (0.0, 1 / 6), (np.pi / 4, (5 * np.sqrt(0.5) + 1) / 6)]
)
def test_direction_rewards_by_hand(angle, reward):
    physics = standing(1.5, 1.0, (0.0, 1.0, 0.0))
    assert meta_rewards.humanoid_direction(physics, (angle,)) == pytest.approx(reward)
    # Full force costs a fifth.
    forced = standing(1.5, 1.0, (0.0, 1.0, 0.0), control=1.0)
    assert meta_rewards.humanoid_direction(forced, (angle,)) == pytest.approx(0.8 * reward)


def test_walking_backwards_is_walking_mirrored():
    for speed, reward in ((-1.0, 1.0), (-2.0, 1.0), (1.0, 1 / 6), (-0.5, (5 * 0.5 + 1) / 6)):
        physics = standing(1.5, 1.0, (speed, 0.0, 0.0))
        assert meta_rewards.walker_motion(physics, (-1.0,)) == pytest.approx(reward)


@pytest.mark.parametrize("domain", ["walker", "humanoid"])
@pytest.mark.parametrize("task", ["stand", "walk", "run"])
def test_stand_walk_and_run_are_the_suites(make, domain, task):
    family = f"{domain}-body"
    seen, rewards = play(make(family, f"{family}_{task}"))
    suite = make_env(f"{domain}-{task}", observation="state", action_repeat=1)
    suite_seen, suite_rewards = play(suite)
    suite.close()
    np.testing.assert_array_equal(seen, suite_seen)
    np.testing.assert_allclose(rewards, suite_rewards, rtol=1e-12)


def test_reward_at_the_target_speed_of_the_simulator(make):
    env = make("cheetah-vel", MetaTask("mine", "cheetah-vel", (2.0,)))
    env.reset(seed=0)
    with env.physics.reset_context():
        env.physics.data.qvel[0] = 2.0
    assert env.physics.speed() == pytest.approx(2.0)
    assert meta_rewards.cheetah_velocity(env.physics, env.task.values) == pytest.approx(1.0)


def test_reward_at_the_goal_of_the_point_mass(make):
    env = make("point_mass-goal", MetaTask("mine", "point_mass-goal", (0.1, -0.15)))
    env.reset(seed=0)
    for place, reward in (((0.1, -0.15), 1.0), ((0.1, -0.15 + 0.215), 0.1)):
        with env.physics.reset_context():
            env.physics.data.qpos[:] = place
        # A tenth where the margin of 0.2 beyond the target's radius of 0.015 ends.
        assert meta_rewards.point_mass_goal(env.physics, ()) == pytest.approx(reward)


def test_reward_at_the_goal_of_the_reacher(make):
    env = make("reacher-goal", MetaTask("mine", "reacher-goal", (0.2, np.pi / 2)))
    env.reset(seed=0)
    np.testing.assert_allclose(
        env.physics.named.model.geom_pos["target"], [0, 0.2, 0.01], atol=1e-15
    )
    with env.physics.reset_context():
        env.physics.data.qpos[:] = (np.pi / 2, 0)
    # The straight arm is 0.24 long, so the finger's surface and the target's overlap.
    assert meta_rewards.reacher_goal(env.physics, ()) == 1.0
    with env.physics.reset_context():
        env.physics.data.qpos[:] = (-np.pi / 2, 0)
    assert meta_rewards.reacher_goal(env.physics, ()) < 0.1


def pendulum_acceleration(mass, length, gear, damping, angle, velocity, control):
    """(m g l sin θ - b ω + u) / (2/5 m r² + m l²), for the suite's pendulum rescaled."""
    m, arm = mass, 0.5 * length
    torque = m * 9.81 * arm * np.sin(angle) - 0.1 * damping * velocity + gear * control
    return torque / (0.4 * m * 0.05**2 + m * arm**2)


@pytest.mark.parametrize("scales", [(1.0, 1.0, 1.0, 1.0), (2.0, 0.5, 1.5, 0.7)])
def test_rescaled_pendulum_obeys_its_law(make, scales):
    env = make("pendulum-dynamics", MetaTask("mine", "pendulum-dynamics", scales))
    env.reset(seed=0)
    for state in np.random.default_rng(0).uniform(-1, 1, (5, 3)):
        env.physics.data.qpos[:], env.physics.data.qvel[:] = state[:2, None]
        env.physics.set_control(state[2:])
        env.physics.forward()
        expected = pendulum_acceleration(*scales, *state)
        assert env.physics.data.qacc[0] == pytest.approx(expected, rel=1e-9)


def cartpole_numbers(env):
    model = env.physics.named.model
    return np.array([
        model.body_mass["pole_1"], model.geom_size["pole_1", 1], model.actuator_gear["slide", 0],
        model.dof_damping["slider"][0], model.dof_damping["hinge_1"][0],
    ])  # fmt: skip


def test_cartpole_is_rescaled_and_the_next_task_starts_from_the_suites_model(make):
    def numbers(*scales):
        task = MetaTask(str(scales), "cartpole-dynamics", scales)
        env.reset(options={"task": task})
        return cartpole_numbers(env)

    env = make("cartpole-dynamics")
    suite = np.array([0.1, 0.5, 10.0, 5e-4, 2e-6])
    np.testing.assert_allclose(numbers(2.0, 0.5, 1.5, 0.7), suite * [2, 0.5, 1.5, 0.7, 0.7])
    cart = env.physics.named.model.body_mass["cart"]
    np.testing.assert_allclose(numbers(1.0, 1.0, 1.0, 1.0), suite)
    assert env.physics.named.model.body_mass["cart"] == cart == 1.0


@pytest.mark.render
@pytest.mark.parametrize("family", GOALS)
def test_goals_are_seen_by_people_and_not_in_observations(make, family):
    tasks = family_tasks(family, "test")[:2]
    look = {"observation": "pixels", "render_quality": "minimal", "render_mode": "rgb_array"}
    envs = [make(family, task, **look) for task in tasks]
    seen = [env.reset(seed=0)[0] for env in envs]
    pictures = [env.render() for env in envs]
    np.testing.assert_array_equal(*seen)
    assert not np.array_equal(*pictures)
    still = np.zeros(envs[0].action_space.shape)
    np.testing.assert_array_equal(*[env.step(still)[0] for env in envs])


@pytest.mark.render
def test_pictures_follow_the_rescaled_model(make):
    env = make("pendulum-dynamics", observation="pixels", render_quality="minimal")
    long, short = (
        MetaTask("a", "pendulum-dynamics", (1.0, length, 1.0, 1.0)) for length in (2.0, 0.5)
    )
    first = env.reset(seed=0, options={"task": long})[0]
    second = env.reset(seed=0, options={"task": short})[0]
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(env.reset(seed=0, options={"task": long})[0], first)


@pytest.mark.parametrize("family", [n for n, f in FAMILIES.items() if not f.listed])
def test_splits_are_disjoint_and_each_covers_the_range_evenly(family):
    known = FAMILIES[family]
    splits = [family_tasks(family, name) for name in ("train", "val", "test")]
    assert [len(split) for split in splits] == [40, 20, 40]
    tasks = [task for split in splits for task in split]
    assert len({task.values for task in tasks}) == len({task.name for task in tasks}) == 100
    for split in splits:
        values = np.array([task.values for task in split])
        share = (values - known.low) / np.subtract(known.high, known.low)
        within = np.sort(share * len(split), axis=0) - np.arange(len(split))[:, None]
        # One task in each stratum, up to the rounding of values.
        assert ((within > -0.02) & (within < 1.02)).all()


def test_values_never_change():
    assert family_tasks("cheetah-vel", "train")[0] == MetaTask(
        "cheetah-vel_2.3291", "cheetah-vel", (2.3291,), "train"
    )


def test_tasks_that_are_tested_with_are_not_trained_with():
    names = {s: {t.name for t in family_tasks("walker-body", s)} for s in ("train", "test")}
    assert names["test"] == {"walker-body_walk"}
    assert not names["test"] & names["train"]


def test_batches_depend_on_the_seed_and_environments_on_the_task():
    family = MetaTasks("reacher-goal", "test", seed=3, max_steps=4)
    batch = family.sample_task_batch(40)
    assert batch == MetaTasks("reacher-goal", "test", seed=3).sample_task_batch(40)
    assert batch != MetaTasks("reacher-goal", "test", seed=4).sample_task_batch(40)
    assert {task.name for task in batch} == {task.name for task in family.tasks}
    assert len(MetaTasks("walker-dir").sample_task_batch(5)) == 5
    env = family.make_env(batch[0])
    env.reset(seed=0)
    ends = [env.step(np.zeros(2))[3] for _ in range(4)]
    assert (env.task, ends) == (batch[0], [False, False, False, True])
    with pytest.raises(ResetNeeded, match="call reset"):
        env.step(np.zeros(2))
    env.close()


def test_tasks_are_drawn_for_each_episode_until_one_is_set(make):
    env = make("point_mass-goal", split="val")
    drawn = [env.reset(seed=0 if i == 0 else None)[1]["task"] for i in range(6)]
    assert len(set(drawn)) > 2
    assert set(drawn) <= {task.name for task in family_tasks("point_mass-goal", "val")}
    assert [env.reset(seed=0 if i == 0 else None)[1]["task"] for i in range(6)] == drawn
    name = family_tasks("point_mass-goal", "test")[0].name
    env.reset(options={"task": name})
    assert env.reset()[1]["task"] == name


def test_environment_is_pickled_and_vectorised(make):
    copy = pickle.loads(pickle.dumps(make("walker-dir", "walker-dir_backward")))
    assert copy.reset(seed=0)[1]["task"] == "walker-dir_backward"
    copy.close()
    vector = make_vector("AIME/MetaDMC-v0", 2, in_process=True, family="cheetah-vel")
    assert vector.reset(seed=0)[0].shape == (2, 17)
    vector.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"family": "cheetah-speed"},
            r"one of cheetah-vel, .*humanoid-body, found 'cheetah-speed'",
        ),
        ({"family": "cheetah-vel", "split": "all"}, r"\('train', 'val', 'test'\), found 'all'"),
        ({"family": "walker-body", "split": "val"}, r"\('train', 'test'\), found 'val'"),
        (
            {"family": "walker-dir", "task": "up"},
            "none of family 'walker-dir', such as 'walker-dir_",
        ),
        ({"family": "walker-dir", "max_steps": 0}, "max_steps must be at least 1"),
        ({"family": "walker-dir", "speed": 1}, "no setting 'speed'"),
        (
            {"family": "walker-vel", "task": MetaTask("other", "walker-dir", (1.0,))},
            "of family 'walker-vel', found 'other' of 'walker-dir'",
        ),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        MetaDMCEnv(**arguments)


@pytest.mark.parametrize(
    ("family", "values"),
    [
        ("reacher-goal", (0.1,)),
        ("cheetah-vel", (np.nan,)),
        ("pendulum-dynamics", (1.0, 1.0, 0.0, 1.0)),
        ("reacher-gaol", (0.1, 0.2)),
    ],
)
def test_wrong_tasks_are_refused(family, values):
    with pytest.raises(ConfigError, match=family):
        MetaTask("mine", family, values)


def test_wrong_options_are_refused(make):
    env = make("cheetah-vel")
    with pytest.raises(ResetNeeded, match="call reset"):
        env.step(np.zeros(6))
    with pytest.raises(ConfigError, match="option 'task', found \\['goal'\\]"):
        env.reset(options={"goal": 1.0})


def test_the_page_names_every_id_and_every_family():
    suite = {task_id(f"{domain}-{task}") for domain, task in SUITE_TASKS}
    ours = {name for name in gymnasium.registry if name.startswith("AIME/")} - suite
    assert "AIME/MetaDMC-v0" in ours
    assert [name for name in ours if f"| `{name}` |" not in DOC] == []
    assert [name for name in FAMILIES if f"| `{name}` |" not in DOC] == []
