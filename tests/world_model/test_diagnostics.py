"""Numbers about the parts of a model, each with an answer known beforehand."""

import math

import pytest
import torch
from torch.testing import assert_close

from aime_agent.functional.gaussian import gaussian_kl
from aime_agent.representation.mixture import MixturePrior
from aime_agent.world_model.diagnostics import attention_use, bound_gap, diagnose, slot_use
from aime_agent.world_model.losses import SequenceData
from aime_agent.world_model.sequence import fit, pass_over

SIDE, SLOTS = 8, 3
PER_UPDATE = {
    "codebook/perplexity",
    "mixture/effective_components",
    "mixture/mutual_information",
    "mixture/dead_fraction",
    "attention/entropy",
    "attention/entropy_spread",
    "attention/movement_skill",
    "slots/largest_mass",
    "slots/smallest_mass",
    "slots/effective",
}


def sequence(film):
    return SequenceData(film.frames, film.actions, film.first, film.rewards, film.terminated)


@pytest.fixture
def beliefs(world, film):
    """Two rows of six frames; the tests put maps and slots of their own in."""
    with torch.no_grad():
        return pass_over(world, sequence(film), sample=False).beliefs


def one_cell(columns):
    """Maps with all mass on row 3 and the given column of each frame, alike in both rows."""
    maps = torch.full((2, len(columns), SIDE, SIDE), 1e-12, dtype=torch.float64)
    maps[:, range(len(columns)), 3, columns] = 1
    return maps


def looking(beliefs, columns, shift):
    maps = one_cell(columns)
    before = torch.cat([maps[:, :1], maps[:, :-1]], dim=1)
    state = beliefs.state._replace(attention=before)
    steps = torch.tensor([[s, 0.0] for s in shift]).double().expand(2, -1, -1)
    return beliefs._replace(state=state, log_evidence=maps.log(), shift=steps)


@pytest.mark.parametrize(
    ("scale", "skill"),
    [(1.0, 1.0), (0.0, 0.0), (-1.0, -1.5), (0.5, 1 - (0.5 + 0.125) / 2)],
)
def test_skill_of_predicted_movement_by_hand(beliefs, scale, skill):
    moved = [0, 2, 1, 0, 0, 0]  # cells; without prediction the Huber errors are 1.5 and 0.5
    seen = looking(beliefs, [2, 4, 5, 5, 5, 5], [scale * m for m in moved])
    found = attention_use(seen, torch.ones(2, 6, dtype=torch.bool))
    assert found["attention/movement_skill"].item() == pytest.approx(skill, abs=1e-4)


def test_first_frames_do_not_count_for_the_skill(beliefs):
    seen = looking(beliefs, [2, 4, 5, 5, 5, 5], [9, 9, 1, 0, 0, 0])
    goes_on = torch.ones(2, 6, dtype=torch.bool)
    goes_on[:, :2] = False
    assert attention_use(seen, goes_on)["attention/movement_skill"].item() == pytest.approx(1)
    still = looking(beliefs, [2] * 6, [1.0] * 6)
    assert attention_use(still, goes_on)["attention/movement_skill"] == 0


def test_entropy_and_its_spread_over_time_by_hand(beliefs):
    seen = looking(beliefs, [2] * 6, [0.0] * 6)
    goes_on = torch.ones(2, 6, dtype=torch.bool)
    sharp = attention_use(seen, goes_on)
    assert sharp["attention/entropy"].item() == pytest.approx(0, abs=1e-6)
    assert sharp["attention/entropy_spread"].item() == pytest.approx(0, abs=1e-6)
    maps = seen.log_evidence.clone()
    maps[:, ::2] = -math.log(SIDE**2)
    half = attention_use(seen._replace(log_evidence=maps), goes_on)
    assert half["attention/entropy"].item() == pytest.approx(math.log(64) / 2, abs=1e-6)
    assert half["attention/entropy_spread"].item() == pytest.approx(math.log(64) / 2, abs=1e-6)


def test_mass_of_slots_by_hand(beliefs):
    shares = torch.zeros(2, 6, SLOTS, SIDE**2).double()
    shares[:, :, 0, :48], shares[:, :, 1, 48:] = 1, 1
    found = slot_use(beliefs._replace(responsibilities=shares))
    assert found["slots/largest_mass"] == 0.75
    assert found["slots/smallest_mass"] == 0
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert found["slots/effective"].item() == pytest.approx(math.exp(entropy))
    even = slot_use(beliefs._replace(responsibilities=torch.full_like(shares, 1 / SLOTS)))
    assert even["slots/effective"].item() == pytest.approx(SLOTS)


def mixture(means, std=1.0):
    """Even weights over components at ``means`` on a line, for two entries."""
    count = len(means)
    table = torch.tensor(means).double().view(1, count, 1).expand(2, -1, -1)
    weights = torch.full((2, count), 1 / count).double().log()
    stick = torch.zeros(2, count - 1).double()
    one = torch.ones(2).double()
    return MixturePrior(weights, table, torch.full_like(table, std), stick, stick, one, one)


def test_gap_of_the_bound_is_zero_where_the_bound_is_exact():
    mean, std = torch.tensor([[0.4], [0.4]]).double(), torch.full((2, 1), 0.5).double()
    every = torch.tensor([True, True])
    exact = gaussian_kl(mean, std, torch.zeros_like(mean), torch.ones_like(std)).mean()
    for means in ([0.0], [0.0, 0.0, 0.0]):
        kl, gap = bound_gap(mixture(means), mean, std, every, samples=20_000)
        assert_close(kl + gap, exact)
        assert abs(gap) < 0.02


def test_gap_of_the_bound_between_two_components_equals_quadrature():
    mean, std = torch.zeros(2, 1).double(), torch.ones(2, 1).double()
    prior = mixture([-1.0, 1.0])
    x = torch.linspace(-9, 9, 20_001).double()[:, None]
    q = torch.distributions.Normal(0.0, 1.0).log_prob(x[:, 0])
    one = MixturePrior(*(value[:1].expand(len(x), *value.shape[1:]) for value in prior))
    true = torch.trapezoid(q.exp() * (q - one.log_prob(x)), x[:, 0])
    kl, gap = bound_gap(prior, mean, std, torch.tensor([True, False]), samples=20_000)
    assert kl.item() == pytest.approx(true.item(), abs=0.01)
    assert gap.item() == pytest.approx(0.5 - true.item(), abs=0.01)


def test_gap_leaves_the_global_generator_and_the_rest_alone():
    mean, std = torch.tensor([[0.0], [50.0]]).double(), torch.ones(2, 1).double()
    before = torch.get_rng_state()
    kl, _ = bound_gap(mixture([0.0]), mean, std, torch.tensor([True, False]))
    assert kl.item() == pytest.approx(0, abs=1e-12)
    assert torch.equal(before, torch.get_rng_state())


def test_active_units_are_those_whose_mean_moves(world, film):
    passed = pass_over(world, sequence(film), sample=False)
    mean = torch.zeros_like(passed.beliefs.mean)
    mean[:, ::2, :5] = 1.0
    mean[:, ::2, 5] = 0.1
    still = passed._replace(beliefs=passed.beliefs._replace(mean=mean))
    assert diagnose(still, sequence(film))["posterior_active_units"] == 5


def test_every_update_logs_the_use_of_every_part(fresh, film):
    found = fit(fresh, sequence(film)).metrics
    assert set(found) >= PER_UPDATE
    assert all(found[name].isfinite() and not found[name].requires_grad for name in PER_UPDATE)
    assert 0 < found["attention/entropy"] < math.log(SIDE**2) + 1e-6
    assert found["slots/smallest_mass"] * SLOTS <= 1 <= found["slots/largest_mass"] * SLOTS


@pytest.mark.parametrize(
    ("change", "gone"),
    [
        ({"use_attention": False}, "attention/"),
        ({"use_slots": False}, "slots/"),
        ({"context": "none"}, "codebook/"),
    ],
)
def test_parts_that_are_switched_off_are_left_out(make, film, change, gone):
    model = make(**change)
    with torch.no_grad():
        found = diagnose(pass_over(model, sequence(film), sample=False), sequence(film))
    assert not any(name.startswith(gone) for name in found)
    assert "mixture/effective_components" in found
