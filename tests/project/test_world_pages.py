"""The examples of docs/latent_world.md and docs/planning.md run, and their figures are the stored ones."""

import json
import re
from pathlib import Path

import pytest

import aime_agent

ROOT = Path(__file__).parents[2]
PAGES = ("latent_world", "planning")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with ``runs/walker`` in it: thirty actions, one update."""
    home = tmp_path_factory.mktemp("place")
    aime_agent.train(
        "cartpole-balance", preset="tiny", out=home / "runs" / "walker", frames=1_500,
        action_repeat=50, image_size=32, render_quality="minimal", prefill_frames=1_250,
        sequence_length=5, batch_size=2, pretrain_updates=1, train_every=50, eval_episodes=0,
        tensorboard=False, agent={"dream_starts": 4, "horizon": 2},
    )  # fmt: skip
    return home


def text_of(page):
    return (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")


@pytest.mark.render
@pytest.mark.parametrize("page", PAGES)
def test_examples_run_as_they_stand(place, page, monkeypatch):
    monkeypatch.chdir(place)
    examples = re.findall(r"^```python\n(.*?)^```$", text_of(page), re.MULTILINE | re.DOTALL)
    assert examples
    for code in examples:
        exec(compile(code, f"{page}.md", "exec"), {})


def test_ranking_is_the_stored_one():
    found = json.loads((ROOT / "benchmarks" / "results" / "ranking.json").read_text())
    lines = text_of("latent_world").splitlines()
    for sides in found["policies"].values():
        shown = " | ".join(
            "{:.2f} ({:.2f} to {:.2f})".format(sides[s]["mean"], *sides[s]["ci95"])
            for s in ("dream", "real")
        )
        assert any(shown in line for line in lines)
    assert found["agree"]
