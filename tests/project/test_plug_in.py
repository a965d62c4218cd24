"""docs/plug_in.md and the scripts for Stable-Baselines3 run, on a tiny run of a real task."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "plug_in.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SHORTER = [(r"total_timesteps=[\d_]+", "total_timesteps=64")]


@pytest.mark.render
@pytest.mark.parametrize("number", range(3))
def test_examples_run_as_they_stand(place, number, monkeypatch):
    monkeypatch.chdir(place)
    assert len(EXAMPLES) == 3
    code = EXAMPLES[number]
    for pattern, short in SHORTER:
        code = re.sub(pattern, short, code)
    exec(compile(code, f"plug_in.md, example {number}", "exec"), {})


@pytest.mark.render
@pytest.mark.filterwarnings("ignore:Evaluation environment is not wrapped")
@pytest.mark.parametrize("name", ["sb3_ppo", "sb3_sac"])
@pytest.mark.parametrize("observation", ["belief", "objects"])
def test_scripts_train_and_play(place, name, observation, capsys):
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    more = {"num_envs": 8, "steps": 256} if name == "sb3_ppo" else {"steps": 104}
    out = place / f"{name}-{observation}"
    script.main(
        script.Args(run=place / "runs/walker", observation=observation, episodes=1, out=out, **more)
    )
    assert "mean return" in capsys.readouterr().out
    assert out.is_dir() if name == "sb3_sac" else out.with_suffix(".zip").is_file()


def test_every_name_of_the_page_exists():
    from aime_agent import envs, policies

    for name in re.findall(r"`(\w*(?:Extractor|Policy|VecEnv|Vector|SB3|Observation))\b", PAGE):
        known = hasattr(envs, name) or hasattr(policies, name)
        assert known or name in ("VecEnv", "CnnPolicy", "DummyVecEnv"), name


def test_every_test_of_the_page_exists():
    for path, name in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE):
        assert (
            f"def {name}" in (ROOT / path).read_text(encoding="utf-8")
            if name
            else (ROOT / path).exists()
        )
