"""Open-loop scores: conventions, baselines by hand, an oracle, and what they must notice."""

import math

import numpy as np
import pytest
import torch
from laws import randomised

from aime_agent.data.episode import Episode
from aime_agent.errors import ConfigError, DataError
from aime_agent.functional.image_metrics import psnr
from aime_agent.training.prediction import (
    PredictionConfig,
    bits_per_dim,
    correlation,
    evaluate_prediction,
    picture_scores,
    several_scores,
)
from aime_agent.training.windows import cut_windows
from aime_agent.world_model.model import AimeWorldModel
from aime_agent.world_model.presets import preset

CONFIG = PredictionConfig(context=2, horizons=(1, 3), futures=19, portion=2)


def episode(length=9, seed=0):
    rng = np.random.default_rng(seed)
    return Episode(
        frames=rng.integers(0, 256, (length, 32, 32, 3), dtype=np.uint8),
        actions=rng.uniform(-1, 1, (length, 2)).astype(np.float32),
        rewards=rng.uniform(0, 1, length).astype(np.float32),
        terminated=np.zeros(length, dtype=bool),
    )


@pytest.fixture(scope="module")
def windows():
    return cut_windows([episode(), episode(seed=1)], CONFIG.length, per_episode=2)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    made = AimeWorldModel(preset("tiny", image_size=32, action_dim=2))
    made.begin(torch.rand(16, 3, 32, 32))
    return randomised(made, 0.1)


@pytest.fixture(scope="module")
def report(model, windows):
    return evaluate_prediction(model, windows, torch.full((3, 32, 32), 0.5), CONFIG)


def true_frames(windows, config=CONFIG):
    return windows.frames[:, [config.context + h - 1 for h in config.horizons]] / 255.0


def test_windows_lie_evenly_inside_their_episodes():
    one = episode(length=11)
    windows = cut_windows([one], length=5, per_episode=3)
    for n, start in enumerate((0, 3, 6)):
        assert np.array_equal(windows.actions[n], one.actions[start : start + 5])
        assert np.array_equal(windows.rewards[n], one.rewards[start : start + 5])
        frames = windows.frames[n].permute(0, 2, 3, 1)
        assert np.array_equal(frames, one.frames[start : start + 5])


def test_true_foreground_names_the_metric():
    one = episode()
    mask = np.zeros((9, 32, 32), dtype=bool)
    mask[:, 3] = True
    windows = cut_windows([one], 5, 1, [mask])
    assert windows.mask_name == "fg"
    assert torch.equal(windows.mask[0], torch.from_numpy(mask[:5]))


@pytest.mark.parametrize("episodes", [[], [episode(length=4)]])
def test_too_short_data_is_refused(episodes):
    with pytest.raises(DataError, match="required"):
        cut_windows(episodes, 5, 1)


def test_oracle_scores_the_ceiling_and_copies_score_by_hand(windows, report):
    perfect = picture_scores(true_frames(windows), windows, CONFIG)
    assert perfect["psnr"] == {"1": 100.0, "3": 100.0}
    last = windows.frames[:, 1:2].expand(-1, 2, -1, -1, -1) / 255.0
    by_hand = psnr(last, true_frames(windows)).double().mean(0)
    found = report["pictures"]["copy_last"]["psnr"]
    assert list(found.values()) == pytest.approx(by_hand.tolist())
    constant = psnr(torch.full_like(last, 0.5), true_frames(windows)).double().mean(0)
    assert list(report["pictures"]["mean_frame"]["psnr"].values()) == pytest.approx(
        constant.tolist()
    )


def test_best_is_at_least_the_mean_and_methods_are_what_they_say(windows):
    truth = true_frames(windows)
    sizes = torch.tensor([0.05, 0.1, 0.1]).view(1, 3, 1, 1, 1, 1)
    noise = sizes * torch.randn(len(truth), 3, *truth.shape[1:])
    psnrs = {
        k: v["psnr"] for k, v in several_scores(truth[:, None] + noise, windows, CONFIG).items()
    }
    for h in ("1", "3"):
        assert psnrs["best_of_n"][h] == pytest.approx(-20 * math.log10(0.05), abs=0.2)
        one = (-20 * math.log10(0.05) - 40 * math.log10(0.1)) / 3
        assert psnrs["sampled"][h] == pytest.approx(one, abs=0.2)
        mean = -10 * math.log10((0.05**2 + 2 * 0.1**2) / 9)
        assert psnrs["mean_of_n"][h] == pytest.approx(mean, abs=0.2)


def test_report_has_all_parts(report):
    methods = {"copy_last", "mean_frame", "likeliest", "sampled", "mean_of_n", "best_of_n"}
    assert set(report["pictures"]) == methods
    for scores in report["pictures"].values():
        assert set(scores) == {"psnr", "moving_psnr", "ssim"}
        assert all(set(s) == {"1", "3"} for s in scores.values())
    assert sum(report["calibration"]["latent"]["ranks"]) == pytest.approx(1.0)
    assert math.isfinite(report["bits_per_dim"])


def test_likeliest_is_predict_future(model, windows, report):
    model.eval()
    out = model.predict_future(
        windows.frames[:, :2],
        windows.actions[:, :1],
        future_actions=windows.actions[:, 1:4],
        deterministic=True,
    )
    by_hand = psnr(out.observations[:, [0, 2]], true_frames(windows)).double().mean(0)
    found = report["pictures"]["likeliest"]["psnr"]
    assert list(found.values()) == pytest.approx(by_hand.tolist(), rel=1e-5)
    error = (out.rewards[:, [0, 2]] - windows.rewards[:, [2, 4]]).abs().double().mean(0)
    assert list(report["reward"]["error"].values()) == pytest.approx(error.tolist(), rel=1e-5)


def test_evaluation_disturbs_nothing_and_repeats_itself(model, windows, report):
    model.train()
    before = torch.get_rng_state()
    again = evaluate_prediction(model, windows, torch.full((3, 32, 32), 0.5), CONFIG)
    assert again == report
    assert torch.equal(before, torch.get_rng_state())
    assert model.training


def test_portions_change_no_deterministic_score(model, windows, report):
    other = PredictionConfig(context=2, horizons=(1, 3), futures=0, portion=3)
    found = evaluate_prediction(model, windows, torch.full((3, 32, 32), 0.5), other)
    for metric, scores in found["pictures"]["likeliest"].items():
        expected = report["pictures"]["likeliest"][metric]
        assert scores == pytest.approx(expected, rel=1e-4), metric


def test_bits_of_a_perfect_reconstruction_by_hand():
    # 12 pixels of σ = ½ at their mean: density 1 / (σ √2π), in bins of 1/256
    expected = math.log2(256 * 0.5 * math.sqrt(2 * math.pi))
    assert bits_per_dim(0.0, 12, 4.0) == pytest.approx(expected)
    assert bits_per_dim(12 * math.log(2), 12, 4.0) == pytest.approx(expected + 1)


def test_correlation_by_hand():
    x = torch.tensor([0.0, 1.0, 2.0])
    assert correlation(x, torch.tensor([0.0, 1.0, 0.0])) == pytest.approx(0.0)
    assert correlation(x, -x) == -1.0
    assert correlation(x, torch.ones(3)) == 0.0


@pytest.mark.parametrize(
    "change", [{"horizons": (5, 1)}, {"horizons": (0,)}, {"context": 0}, {"futures": -1}]
)
def test_bad_settings_are_named(change):
    with pytest.raises(ConfigError, match=f"PredictionConfig.{next(iter(change))}"):
        PredictionConfig(**change)


def test_windows_of_another_length_are_refused(model, windows):
    with pytest.raises(ConfigError, match="50 rows required, found 5"):
        evaluate_prediction(model, windows, torch.zeros(3, 32, 32))
