"""Plans in a world with known best actions, and what enters a score."""

import pytest
import torch

from aime_agent.errors import ConfigError
from aime_agent.planning import Guides, Planner, PlannerConfig, shift

METHODS = ["mppi", "cem"]
HARD = {"samples": 256, "horizon": 3, "iterations": 10, "min_std": 0.03, "temperature": 0.1}


def planned(toy, planner, at=((0.0, 0.0),), mean=None, noise=None):
    start = toy.belief(torch.tensor(at))
    c = planner.config
    mean = torch.zeros(len(at), c.horizon, 2) if mean is None else mean
    return planner.plan(start, mean, toy.noise(planner, len(at)) if noise is None else noise)


@pytest.mark.parametrize("method", METHODS)
def test_best_plan_of_a_quadratic_world_is_found(toy, method):
    planner = toy.planner(toy.Point(), method=method, **HARD)
    plan = planned(toy, planner)
    # Go to the goal at once, then stay.
    best = torch.tensor([[[0.3, -0.2], [0.0, 0.0], [0.0, 0.0]]])
    torch.testing.assert_close(plan.mean, best, atol=0.03, rtol=0)
    assert plan.score.item() == pytest.approx(0.0, abs=5e-3)


@pytest.mark.parametrize("method", METHODS)
def test_actions_stay_within_bounds(toy, method):
    far = toy.Point(goal=(5.0, -5.0))
    plan = planned(toy, toy.planner(far, method=method, **HARD | {"temperature": 3.0}))
    torch.testing.assert_close(plan.mean[0, 0], torch.tensor([1.0, -1.0]), atol=0.02, rtol=0)
    assert plan.mean.abs().max() <= 1.0


def test_narrower_bounds_hold_for_every_imagined_and_taken_action(toy):
    world, seen = toy.Point(goal=(5.0, -5.0)), []
    inner = world.rollout
    low, high = torch.tensor([-0.1, -1.0]), torch.tensor([0.2, 0.4])

    def watched(*args):
        path = inner(*args)
        seen.append(path.actions.flatten(0, 1))
        return path

    world.rollout = watched
    guides = Guides(act=lambda features, noise: 3 * torch.ones_like(noise))
    planner = toy.planner(world, guides, bounds=(low, high), **HARD | {"actor_share": 0.25})
    noise = toy.noise(planner)
    plan = planned(toy, planner, mean=torch.full((1, 3, 2), 0.9), noise=noise)
    seen.append(planner.act(plan, noise._replace(action=torch.full((1, 2), 50.0)), False))
    every = torch.cat(seen)
    assert bool((every >= low).all())
    assert bool((every <= high).all())


def test_environments_plan_as_they_would_alone(toy):
    starts = ((0.0, 0.0), (1.0, -1.0), (-0.5, 0.2))
    guides = Guides(
        act=lambda f, n: 0.1 * f[:, :2] + 0.2 * n, value=lambda f: -f[:, :2].norm(dim=1)
    )
    settings = {"actor_share": 0.25, "terminal_value": True, "dream_temperature": 1.0}
    planner = toy.planner(toy.Point(), guides, samples=16, horizon=3, iterations=3, **settings)
    together, noise = planned(toy, planner, starts), toy.noise(planner, 3)
    for i, at in enumerate(starts):
        own = type(noise)(*(x[i : i + 1] for x in noise))
        alone = planned(toy, planner, (at,), noise=own)
        torch.testing.assert_close(alone.mean, together.mean[i : i + 1])
        torch.testing.assert_close(alone.std, together.std[i : i + 1])


def test_score_is_the_discounted_return_and_the_value_by_hand(toy):
    world = toy.Point(goal=(0.0, 0.0), survival=0.5)
    guides = Guides(value=lambda features: 100 * features[:, 0])
    planner = toy.planner(
        world, guides, 0.8, samples=1, horizon=2, iterations=1, elite_share=1.0, terminal_value=True
    )
    # One sequence, the mean: s = 1, 1.5, 1.0; r = −2.25, −1; γ c = 0.4.
    mean = torch.tensor([[[0.5, 0.0], [-0.5, 0.0]]])
    plan = planned(toy, planner, ((1.0, 0.0),), mean)
    assert plan.score.item() == pytest.approx(-2.25 + 0.4 * -1.0 + 0.16 * 100.0)


def test_penalty_takes_off_disagreement_where_the_action_is_taken(toy):
    guides = Guides(disagreement=lambda belief, action: belief.hidden[:, 0] + 10 * action[:, 0])
    planner = toy.planner(
        toy.Point(goal=(0.0, 0.0)), guides, samples=1, horizon=2, iterations=1, penalty=2.0
    )
    mean = torch.tensor([[[0.5, 0.0], [-0.5, 0.0]]])
    plan = planned(toy, planner, ((1.0, 0.0),), mean)
    doubts = (1.0 + 5.0) + (1.5 - 5.0)
    assert plan.score.item() == pytest.approx(-2.25 - 1.0 - 2.0 * doubts)


def test_penalty_changes_the_plan(toy):
    risky = Guides(disagreement=lambda belief, action: action[:, 0].abs())
    free = planned(toy, toy.planner(toy.Point(), **HARD)).mean
    wary = planned(toy, toy.planner(toy.Point(), risky, penalty=5.0, **HARD)).mean
    assert free[0, 0, 0] > 0.25
    assert wary[0, 0, 0].abs() < 0.05


def test_actor_that_knows_the_answer_is_followed(toy):
    guides = Guides(act=lambda features, noise: torch.tensor([0.3, -0.2]) - features[:, :2])
    planner = toy.planner(
        toy.Point(), guides, samples=16, horizon=4, iterations=2, actor_share=0.1, temperature=1e-4
    )
    plan = planned(toy, planner)
    torch.testing.assert_close(plan.mean[0, 0], torch.tensor([0.3, -0.2]), atol=1e-3, rtol=0)
    assert plan.score.item() == pytest.approx(0.0, abs=1e-4)


def test_actor_is_played_once_and_its_score_kept(toy):
    world = toy.Point()
    guides = Guides(act=lambda features, noise: noise)
    planned(toy, toy.planner(world, guides, samples=20, iterations=3, actor_share=0.25))
    assert world.rows == [20, 15, 15]


def test_all_sequences_meet_the_same_noise(toy):
    # The noise adds to every reward alike: it moves the scores and not the plan.
    still, noisy = (
        planned(toy, toy.planner(toy.Point(), dream_temperature=t, **HARD)) for t in (0.0, 1.0)
    )
    torch.testing.assert_close(still.mean, noisy.mean, atol=1e-4, rtol=1e-4)
    assert (still.score - noisy.score).abs() > 1e-3


def test_deviation_has_a_floor(toy):
    settings = HARD | {"min_std": 0.2}
    assert planned(toy, toy.planner(toy.Point(), **settings)).std.min() == pytest.approx(0.2)


def test_warm_start_is_the_plan_one_action_later(toy):
    planner = toy.planner(toy.Point(), **HARD | {"iterations": 1, "samples": 1, "elite_share": 1.0})
    plan = planned(toy, planner, mean=torch.arange(6.0).reshape(1, 3, 2) / 10)
    torch.testing.assert_close(
        shift(plan.mean)[0], torch.tensor([[0.2, 0.3], [0.4, 0.5], [0.0, 0.0]])
    )


def test_drawn_action_is_the_mean_and_noise_times_the_deviation(toy):
    planner = toy.planner(toy.Point(), **HARD | {"min_std": 0.1})
    noise = toy.noise(planner)
    plan = planned(toy, planner)
    torch.testing.assert_close(planner.act(plan, noise, True), plan.mean[:, 0])
    expected = (plan.mean[:, 0] + plan.std[:, 0] * noise.action).clamp(-1, 1)
    torch.testing.assert_close(planner.act(plan, noise, False), expected)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"actor_share": 0.1}, "act is missing.*actor_share=0"),
        ({"terminal_value": True}, "value is missing.*terminal_value=False"),
        ({"penalty": 1.0}, "disagreement is missing.*penalty=0"),
        ({"bounds": (torch.zeros(2), torch.zeros(2))}, "bounds"),
        ({"discount": 1.1}, "discount"),
    ],
)
def test_missing_guides_and_bad_bounds_are_refused(toy, settings, named):
    with pytest.raises(ConfigError, match=named):
        toy.planner(toy.Point(), **settings)


@pytest.mark.parametrize(
    "setting",
    [
        {"method": "icem"},
        {"samples": 0},
        {"horizon": 0},
        {"iterations": 0},
        {"elite_share": 0.0},
        {"elite_share": 1.1},
        {"actor_share": 1.0},
        {"samples": 2, "actor_share": 0.9},
        {"temperature": 0.0},
        {"start_std": 0.0},
        {"min_std": 0.6},
        {"penalty": -1.0},
        {"dream_temperature": -1.0},
    ],
)
def test_settings_that_cannot_work_are_refused(setting):
    with pytest.raises(ConfigError, match=f"PlannerConfig.{list(setting)[-1]}"):
        PlannerConfig(**setting)


def test_defaults_are_the_documented_ones(toy):
    c = PlannerConfig()
    assert (c.samples, c.horizon, c.iterations) == (128, 5, 4)
    assert (c.elites, c.from_actor) == (16, 13)
    assert isinstance(Planner(toy.Point(), Guides(abs, abs), 1.0).config, PlannerConfig)
