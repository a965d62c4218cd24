"""The adaptation benchmark: arms, jobs, tables."""

import json
from pathlib import Path

import numpy as np
import pytest

from aime_agent.cli.main import main
from aime_agent.configs import override
from aime_agent.envs.navigation import NavigationTasks
from aime_agent.errors import ConfigError
from aime_agent.meta.adaptation import adaptation_curve
from aime_agent.meta.adaptation_arms import ARMS, check_arms, training_of
from aime_agent.meta.adaptation_bench import AdaptationJob, run
from aime_agent.meta.adaptation_report import against, by_arm, table
from aime_agent.meta.presets import meta_preset

TINY = {"support_episodes": 2, "query_episodes": 2, "max_episode_steps": 4}


def _row(arm, returns, seed=0, solved=0.0):
    count, steps = np.shape(returns)
    return {
        "family": "navigation2d", "arm": arm, "seed": seed, "returns": returns,
        "tasks": [f"t{i}" for i in range(count)], "solved": [[solved] * steps] * count,
        "training_cpu_seconds": 60.0, "training_episodes": 10, "commits": ["abc"],
    }  # fmt: skip


def test_every_arm_is_documented_and_differs_in_one_thing():
    documented = Path("aime_agent/meta/adaptation_arms.py").read_text(encoding="utf-8")
    for name, changes in ARMS.items():
        assert f"``{name}``" in documented
        assert len(changes) <= 1


def test_arms_learn_from_equal_episodes():
    base = meta_preset("cpu", "navigation2d")
    tuned = override(base, **training_of("fine-tuned", base))
    assert tuned.adaptation_steps == 0
    assert tuned.query_episodes == base.support_episodes + base.query_episodes


def test_wrong_arms_are_named():
    with pytest.raises(ConfigError, match="Did you mean 'gating'"):
        check_arms(("gatting",), "laws")
    with pytest.raises(ConfigError, match="not for navigation2d"):
        check_arms(("no-units",), "navigation2d")


def test_a_curve_has_a_column_per_step_and_leaves_the_policy_alone(make_trainer):
    trainer = make_trainer(**TINY)
    family = NavigationTasks(7)
    before = {k: v.clone() for k, v in trainer.policy.state_dict().items()}
    config = override(trainer.config, adaptation_steps=2)
    found = adaptation_curve(trainer.policy, family, family.sample_task_batch(3), config)
    assert found.returns.shape == (3, 3)
    assert found.env_steps == 3 * 3 * 2 * 4
    assert (found.best[:, 1:] >= found.best[:, :-1]).all()
    assert (found.best >= found.returns).all()
    assert all(bool((before[k] == v).all()) for k, v in trainer.policy.state_dict().items())
    stopped = adaptation_curve(
        trainer.policy, family, family.sample_task_batch(3), config, watch=lambda done: done == 1
    )
    assert len(stopped.tasks) == 1


@pytest.mark.parametrize("arm", ["maml", "fine-tuned", "scratch", "single-key"])
def test_a_job_trains_adapts_and_writes(arm, tmp_path):
    job = AdaptationJob(
        family="navigation2d", arm=arm, seed=0, iterations=1, preset="smoke", tasks=2, steps=1,
        settings=TINY,
    )  # fmt: skip
    found = run(job, tmp_path)
    assert json.loads((tmp_path / "result.json").read_text())["returns"] == found["returns"]
    assert np.shape(found["returns"]) == (2, 2)
    assert found["training_episodes"] == (0 if arm == "scratch" else 2 * 4)
    again = run(job, tmp_path)
    assert again["returns"] == found["returns"]
    assert again["iterations"] == (0 if arm == "scratch" else 1)


def test_table_by_hand():
    rows = [
        _row("maml", [[0.0, 4.0], [0.0, 6.0]]),
        _row("scratch", [[0.0, 1.0], [0.0, 7.0]]),
        _row("scratch", [[0.0, 1.0], [0.0, 1.0]], seed=1),
    ]
    text = table(rows, "navigation2d")
    assert "| `maml` | 1 | 0.0 (0.0 to 0.0) | 5.0 (-7.7 to 17.7) |" in text
    assert "| `scratch` | 2 |" in text
    assert by_arm(rows, "navigation2d")["scratch"].shape == (4, 2)
    assert against(rows[1:], rows, "navigation2d") == "1 of 2 (p = 1)"


def test_the_command_runs_adds_rows_and_fills_a_page(tmp_path, capsys):
    page, results = tmp_path / "page.md", tmp_path / "rows.json"
    page.write_text("<!-- table: adaptation navigation2d -->\n<!-- end -->\n", encoding="utf-8")
    words = ["bench", "adaptation", "navigation2d", "--preset", "smoke", "--iterations", "1"]
    words += ["--tasks", "2", "--steps", "1", "--arms", "maml,scratch", "--seeds", "0"]
    for key, value in TINY.items():
        words += ["--set", f"{key}={value}"]
    words += ["--out", str(tmp_path / "runs"), "--results", str(results), "--page", str(page)]
    assert main(words) == 0
    assert "`maml`" in page.read_text(encoding="utf-8")
    assert (tmp_path / "images" / "adaptation_navigation2d.png").exists()
    assert len(json.loads(results.read_text())["rows"]) == 2
    capsys.readouterr()
    assert main(["bench", "adaptation", "navigation3d"]) == 2
    assert "Did you mean 'navigation2d'" in capsys.readouterr().err
