"""Films of growing laws: what is shown is where the policy looks."""

import gymnasium
import numpy as np
import pytest
import torch
from PIL import Image

import aime_agent  # noqa: F401  (registers the environment)
from aime_agent.errors import ConfigError
from aime_agent.layers.query_attention import Attended
from aime_agent.meta.growth import GrowthStep, grow, growth_sheet, save_growth
from aime_agent.policies.meta_policy import policy_for

LAW = "damped_oscillator"


class At(torch.nn.Module):
    """Looks at the node of one number, or at the newest one if there are fewer."""

    def __init__(self, node):
        super().__init__()
        self.node = node

    def forward(self, queries, tokens, mask):
        newest = mask.sum(dim=1) - 1
        where = newest.clamp(0, self.node)
        weights = torch.nn.functional.one_hot(where, tokens.shape[1]) * mask
        weights = weights.float()[:, None, None].expand(-1, 1, queries.shape[1], -1)
        return Attended(torch.zeros_like(queries), weights, mask)


def _env(**settings):
    settings = {"render_mode": "rgb_array", "max_nodes": 10} | settings
    return gymnasium.make("AIME/SymbolicDiscovery-v0", task=LAW, **settings)


def _policy(env, node=0):
    torch.manual_seed(0)
    spaces = env.observation_space, env.action_space
    return policy_for(*spaces, hidden_dim=8, attention=At(node))


def test_frames_differ_where_attention_does():
    env = _env()
    root, second = (grow(_policy(env, node), env, LAW)[0] for node in (0, 1))
    assert len(root) == len(second) > 4
    same = [np.array_equal(a.picture, b.picture) for a, b in zip(root, second, strict=True)]
    assert same == [True, True] + [False] * (len(root) - 2)
    assert [list(step.weights) for step in root[:3]] == [[], [1.0], [1.0, 0.0]]
    again, _ = grow(_policy(env), env, LAW)
    assert np.array_equal(again[-1].picture, root[-1].picture)


def test_the_last_look_is_at_the_finished_law_and_the_reward_is_its():
    env = _env()
    steps, reward = grow(_policy(env), env, LAW, seed=3)
    score = env.unwrapped.score
    assert len(steps[-1].weights) == len(score.expression.tokens) == len(steps) - 1
    assert reward == score.reward


def test_evenness_by_hand():
    def of(*weights):
        return GrowthStep(np.zeros((1, 1, 3), np.uint8), np.array(weights)).evenness

    assert of(0.25, 0.25, 0.25, 0.25) == pytest.approx(1.0)
    assert of(0.5, 0.5, 0.0, 0.0) == pytest.approx(0.5)
    assert of(1.0) == of() == 0.0


def test_a_sheet_shows_first_and_last_in_rows_of_three():
    pictures = [np.full((8, 8, 3), 20 * k, np.uint8) for k in range(10)]
    sheet = growth_sheet([GrowthStep(p, np.ones(1)) for p in pictures]).convert("RGB")
    assert sheet.size == (24, 16)
    assert sheet.getpixel((4, 4)) == (0, 0, 0)
    assert sheet.getpixel((20, 12)) == (180, 180, 180)


def test_film_and_sheet_are_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    env = _env()
    made = save_growth(_policy(env), env, LAW)
    assert str(made.film.path) == f"videos/attention_{LAW}.mp4"
    assert made.film.path.stat().st_size > 1000
    assert made.film.frames == 15 * (len(made.steps) - 1) + 45
    with Image.open(made.sheet) as sheet:
        assert sheet.width == 3 * made.steps[0].picture.shape[1]
    policy = _policy(env)
    told = torch.zeros(1, 1, 1, policy.context_dim)
    told[..., -1] = 1.0
    gif = save_growth(policy, env, LAW, tmp_path / "a.gif", context=told)
    assert gif.film.path.read_bytes().startswith(b"GIF")


def test_what_cannot_be_filmed_is_named(tmp_path):
    env = _env()
    with pytest.raises(ConfigError, match=r"must end in \.mp4 or \.gif"):
        save_growth(_policy(env), env, LAW, tmp_path / "a.avi")
    with pytest.raises(ConfigError, match="render_mode='rgb_array'"):
        grow(_policy(env), _env(render_mode=None), LAW)
    with pytest.raises(ConfigError, match="policy_for"):
        grow(_policy(env), _env(max_nodes=12), LAW)
