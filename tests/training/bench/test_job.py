"""A job learns, repeats itself, goes on after an interruption, and trains on no held-out frame."""

import json

import numpy as np
import pytest
import torch

from aime_agent.errors import ConfigError
from aime_agent.training.bench import job
from aime_agent.training.bench.files import RESULT
from aime_agent.training.bench.fit import Fit, divide
from aime_agent.training.bench.job import STRIPS, run


@pytest.fixture(scope="module")
def done(spec, tmp_path_factory):
    folder = tmp_path_factory.mktemp("job")
    return run(spec, folder), folder


def numbers(result):
    """What must repeat itself: everything but the clock."""
    curve = [{k: v for k, v in p.items() if k != "cpu_seconds"} for p in result["curve"]]
    return {"curve": curve, "final": result["final"], "hash": result["config_hash"]}


def test_result_has_what_a_reader_needs(done, spec):
    result, folder = done
    assert json.loads((folder / RESULT).read_text()) == json.loads(json.dumps(result))
    assert [p["updates"] for p in result["curve"]] == [2, 4]
    assert result["curve"][0]["cpu_seconds"] < result["curve"][1]["cpu_seconds"]
    assert result["cpu_seconds"] == result["curve"][1]["cpu_seconds"]
    assert {"versions", "machine", "data", "parameters", "config_hash", "spec"} <= set(result)
    assert "kl_bound" in result["curve"][1]["training"]


def test_strips_show_the_true_frames(done, spec, stored):
    with np.load(done[1] / STRIPS) as found:
        assert found["likeliest"].shape == (1, 10, 32, 32, 3)
        shown = found["real"][0]
    rows = [4, *(4 + h for h in job.STRIP_HORIZONS)]
    matches = [np.array_equal(shown, e.frames[rows]) for e in stored.episodes]
    assert sum(matches) == 1


def test_interrupted_job_ends_in_the_same_numbers(done, spec, tmp_path, monkeypatch):
    def stop(self, step):
        if step == 3:
            raise KeyboardInterrupt
        return update(self, step)

    update = Fit.update
    monkeypatch.setattr(Fit, "update", stop)
    with pytest.raises(KeyboardInterrupt):
        run(spec, tmp_path)
    seen = []
    monkeypatch.setattr(
        Fit, "update", lambda self, step: (seen.append(step), update(self, step))[1]
    )
    assert numbers(run(spec, tmp_path)) == numbers(done[0])
    assert seen == [2, 3]


def test_other_settings_do_not_go_on_from_a_saved_state(spec, tmp_path, stored, change):
    run(change(spec, updates=1, evaluations=1), tmp_path)
    fit = Fit(change(spec, updates=2, evaluations=1), stored, tmp_path, tmp_path / "scratch")
    assert fit.load() is None


def test_no_update_sees_a_held_out_frame(spec, stored, tmp_path):
    replay, held = divide(spec, stored, tmp_path)
    stretches = replay.frames(10_000, np.random.default_rng(0))
    learned = {x.numpy().tobytes() for x in stretches}
    judged = {e.frames.tobytes(): k for k, e in enumerate(stored.episodes)}
    assert len(stretches) == 4 * len(stored.episodes[0])
    windows = held.full.frames.flatten(0, 1)
    assert len(judged) == 5
    shared = sum(x.numpy().tobytes() in learned for x in windows)
    assert shared < len(windows) / 2  # squares meet by chance, episodes do not


def test_all_arms_of_a_seed_see_the_same_batches(spec, stored, tmp_path, change):
    fits = [
        Fit(change(spec, arm=arm), stored, tmp_path / arm, tmp_path / arm)
        for arm in ("default", "rssm_narrow")
    ]
    seen = []
    for fit in fits:
        fit.begin()
        sample = fit.replay.sample

        def keep(*args, sample=sample):
            seen.append(sample(*args))
            return seen[-1]

        fit.replay.sample = keep
        fit.update(0)
    assert torch.equal(seen[0].observations, seen[1].observations)
    assert torch.equal(fits[0].model.pixels.mean, fits[1].model.pixels.mean)


@pytest.mark.parametrize("bad", [{"updates": 0}, {"evaluations": 9}, {"batch_size": 0}])
def test_bad_settings_are_named(spec, change, bad):
    with pytest.raises(ConfigError, match=f"JobSpec.{next(iter(bad))}"):
        change(spec, **bad)
