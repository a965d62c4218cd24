"""Films: layout by known pixels, an honest dream, real mp4 files."""

from types import MappingProxyType, SimpleNamespace

import gymnasium
import imageio.v2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from aime_agent.errors import ConfigError
from aime_agent.training.dream_frame import compose_frame, contact_sheet
from aime_agent.training.film import write_film
from aime_agent.training.panels import (
    PALETTE,
    Grid,
    attention_panel,
    attention_top,
    heat,
    slot_shares,
    slots_panel,
)
from aime_agent.training.video import (
    Played,
    RecordConfig,
    collect,
    observe,
    record,
)

SIDE, CELLS, SLOTS, LENGTH, MARK = 32, 8, 3, 12, 4


class FakeModel(nn.Module):
    """Reconstructs what it is given, dreams the last context frame plus the action, keeps inputs."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.config = SimpleNamespace(action_dim=2)
        self.dream_inputs = None

    def forward_sequence(self, observations, actions, is_first=None):
        batch, length = observations.shape[:2]
        maps = torch.rand(batch, length, SLOTS, CELLS, CELLS)
        return SimpleNamespace(
            reconstructions=observations.float() / 255,
            attention_maps=maps[:, :, 0] / maps[:, :, 0].sum((-1, -2), keepdim=True),
            slot_attention_maps=maps / maps.sum((-1, -2), keepdim=True),
            slot_centers=torch.zeros(batch, length, SLOTS, 2),
            slot_mass=torch.ones(batch, length, SLOTS),
            predicted_rewards=torch.arange(length)[None] / 10.0,
        )

    def predict_future(self, observations, actions, future_actions, deterministic, decode):
        self.dream_inputs = (observations.clone(), actions.clone(), future_actions.clone())
        last = observations[:, -1:].float() / 255
        frames = last + future_actions.cumsum(1)[..., :1, None, None] * 0.01
        return SimpleNamespace(observations=frames, rewards=future_actions[..., 0])


class FakeEnv(gymnasium.Env):
    """Counts its steps in the frames; ends after 40."""

    metadata = MappingProxyType({"render_fps": 20})
    action_space = SimpleNamespace(shape=(2,))

    def __init__(self):
        self.closed = False

    def reset(self, seed=None):
        self.step_number = 0
        return self._frame(), {}

    def step(self, action):
        self.step_number += 1
        return self._frame(), self.step_number / 10, False, self.step_number == 40, {}

    def close(self):
        self.closed = True

    def _frame(self):
        return np.full((SIDE, SIDE, 3), self.step_number, np.uint8)


class FakeAgent:
    config = SimpleNamespace(task="walker-walk", action_repeat=2)

    def __init__(self):
        self.world_model = FakeModel()
        self.env = FakeEnv()

    def make_env(self, render_mode=None):
        return self.env

    def predict(self, observation, state=None, episode_start=None, deterministic=True):
        return np.full((1, 2), observation.flat[0] / 100, np.float32), state


def played(seed=0):
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 256, (LENGTH, SIDE, SIDE, 3), np.uint8)
    actions = rng.uniform(-1, 1, (LENGTH, 2)).astype(np.float32)
    return Played(frames, actions, np.linspace(0, 1, LENGTH), 0, 20.0)


def recording(**changes):
    return observe(FakeModel(), played(), "walker-walk", MARK)._replace(**changes)


def corner(frame, r, i):
    """Returns what lies in panel ``i`` of a composed frame."""
    grid = Grid.of(max(r.observations.shape[1:3]), 4)
    x, y = grid.corner(i)
    return frame[y : y + grid.panel, x : x + grid.panel]


def size_of(path):
    with Image.open(path) as image:
        return image.size


def test_dream_does_not_change_when_later_frames_become_noise():
    model, real = FakeModel(), played()
    clean = observe(model, real, "task", MARK)
    seen = model.dream_inputs
    noisy = real.observations.copy()
    noisy[MARK:] = np.random.default_rng(9).integers(0, 256, noisy[MARK:].shape)
    dirty = observe(model, real._replace(observations=noisy), "task", MARK)
    assert all(torch.equal(a, b) for a, b in zip(seen, model.dream_inputs, strict=True))
    assert np.array_equal(clean.dream, dirty.dream)
    assert not np.array_equal(clean.reconstructions, dirty.reconstructions)
    panels = [corner(compose_frame(r, LENGTH - 1, 4), r, 2) for r in (clean, dirty)]
    assert np.array_equal(*panels)


def test_dream_changes_with_a_frame_before_the_mark():
    real = played()
    other = real.observations.copy()
    other[MARK - 1] = 0
    dreams = [
        observe(FakeModel(), p, "t", MARK).dream for p in (real, real._replace(observations=other))
    ]
    assert not np.array_equal(*dreams)


def test_dream_is_fed_the_actions_that_lead_to_each_frame():
    model, real = FakeModel(), played()
    r = observe(model, real, "task", MARK)
    frames, between, future = model.dream_inputs
    assert (frames.shape[1], between.shape[1], future.shape[1]) == (MARK, MARK - 1, LENGTH - MARK)
    assert np.array_equal(between[0], real.actions[: MARK - 1])
    assert np.array_equal(future[0], real.actions[MARK - 1 : LENGTH - 1])
    assert len(r.dream) == len(r.dreamed_rewards) == LENGTH - MARK


@pytest.mark.parametrize("scale", [1, 3, 4, 8])
def test_frame_is_pure_and_a_multiple_of_16(scale):
    r = recording()
    one, two = compose_frame(r, 5, scale), compose_frame(r, 5, scale)
    assert np.array_equal(one, two)
    assert one.dtype == np.uint8
    assert (one.shape[0] % 16, one.shape[1] % 16, one.shape[2]) == (0, 0, 3)


@pytest.mark.parametrize(("i", "name"), [(0, "observations"), (1, "reconstructions")])
def test_picture_panels_hold_the_pictures(i, name):
    r = recording()
    panel = corner(compose_frame(r, 2, 4), r, i)
    assert np.array_equal(panel[2::4, 2::4], getattr(r, name)[2])


def test_dream_panel_is_blank_before_the_mark_and_the_dream_from_it_on():
    r = recording()
    before = [
        corner(compose_frame(recording(dream=d), 2, 4), r, 2) for d in (r.dream, 255 - r.dream)
    ]
    assert np.array_equal(*before)
    assert np.array_equal(corner(compose_frame(r, MARK, 4), r, 2)[2::4, 2::4], r.dream[0])


@pytest.mark.parametrize("name", ["rewards", "predicted_rewards", "dreamed_rewards", "slot_mass"])
def test_caption_and_legend_show_every_number(name):
    r = recording()
    values = getattr(r, name).copy()
    values[..., -5:] *= 0.5
    values.flat[-SLOTS * 4 :: SLOTS] += 0.3
    other = r._replace(**{name: values})
    assert not np.array_equal(compose_frame(r, 8, 4), compose_frame(other, 8, 4))


def test_attention_is_hottest_where_its_map_is():
    maps = np.zeros((LENGTH, CELLS, CELLS))
    maps[:, 2, 6] = 1.0
    frame = recording().observations[0]
    panel = np.asarray(attention_panel(frame, maps[0], attention_top(maps), 128)).astype(float)
    warmth = panel[..., 0] - panel[..., 2]
    y, x = np.unravel_index(warmth.argmax(), warmth.shape)
    assert abs(y - 2.5 * 16) < 16
    assert abs(x - 6.5 * 16) < 16


def test_even_attention_does_not_look_hot():
    even = np.full((LENGTH, CELLS, CELLS), 1 / CELLS**2)
    assert attention_top(even) == pytest.approx(3 / CELLS**2)


def test_heat_gets_lighter():
    lightness = heat(np.linspace(0, 1, 50)) @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(lightness) > 0).all()


def test_slot_shares_sum_to_one_and_follow_mass():
    maps = np.full((2, 4, 4), 1 / 16)
    shares = slot_shares(maps, np.array([3.0, 1.0]))
    assert np.allclose(shares.sum(0), 1)
    assert np.allclose(shares[0], 0.75)


@pytest.mark.parametrize(
    ("center", "cell"), [((-1.0, -1.0), (0, 0)), ((1.0, -1.0), (0, 7)), ((0, 1.0), (7, 3.5))]
)
def test_slot_centres_lie_at_x_right_y_down(center, cell):
    centers = np.zeros((LENGTH, SLOTS, 2)) + center
    r = recording(slot_mass=np.tile(np.arange(SLOTS) + 1.0, (LENGTH, 1)))  # the last one on top
    shown = (r.observations[0], r.slot_maps[0], r.slot_mass[0], centers[0])
    panel = np.asarray(slots_panel(*shown, 256)).astype(int)
    ring = np.argwhere((np.abs(panel - PALETTE[SLOTS - 1]).sum(-1)) == 0).mean(0)
    assert np.allclose(ring / 32 - 0.5, cell, atol=0.15)


def test_collect_pairs_each_frame_with_the_action_after_it():
    agent = FakeAgent()
    p = collect(agent, seed=0, steps=10, first_step=5)
    assert np.array_equal(p.observations[:, 0, 0, 0], np.arange(5, 15))
    assert np.allclose(p.actions[:-1, 0], np.arange(5, 14) / 100)
    assert np.allclose(p.rewards, np.arange(5, 15) / 10)
    assert not p.actions[-1].any()
    assert (agent.env.closed, p.fps) == (True, 20)


def test_collect_stops_at_the_end_of_the_episode():
    assert len(collect(FakeAgent(), 0, 100).observations) == 41
    with pytest.raises(ConfigError, match="first_step"):
        collect(FakeAgent(), 0, 100, first_step=39)


def test_record_writes_a_film_of_all_steps_and_a_sheet(tmp_path):
    path = record(
        FakeAgent(),
        tmp_path / "a" / "x.mp4",
        steps=6,
        episodes=2,
        scale=2,
        sheet=tmp_path / "s.png",
    )
    with imageio.v2.get_reader(path) as film:
        frames = list(film.iter_data())
        assert film.get_meta_data()["fps"] == 20
    assert len(frames) == 12
    assert frames[0].shape[0] % 16 == 0
    assert [p.name for p in path.parent.iterdir()] == ["x.mp4"]
    assert size_of(tmp_path / "s.png")[0] > 64


def test_film_rate_is_clipped_and_failure_leaves_no_file(tmp_path):
    def frames():
        yield np.zeros((32, 32, 3), np.uint8)
        raise ConfigError("stop")

    with pytest.raises(ConfigError, match="stop"):
        write_film(tmp_path / "x.mp4", frames(), 100)
    assert not list(tmp_path.iterdir())
    write_film(tmp_path / "x.mp4", iter([np.zeros((32, 32, 3), np.uint8)] * 3), 100)
    with imageio.v2.get_reader(tmp_path / "x.mp4") as film:
        assert film.get_meta_data()["fps"] == 30


def test_sheet_has_a_column_per_row_and_a_bar_at_the_mark(tmp_path):
    r = recording()
    sheets = [contact_sheet(r, tmp_path / f"{len(k)}.png", k) for k in ([0, 5], [0, 5, 6])]
    widths = [size_of(sheet)[0] for sheet in sheets]
    assert 96 <= widths[1] - widths[0] <= 112


@pytest.mark.parametrize("field", ["episodes", "steps", "mark", "scale", "seed", "first_step"])
def test_bad_option_is_named(field):
    with pytest.raises(ConfigError, match=f"RecordConfig.{field}"):
        RecordConfig(**{field: -1})


def test_film_must_be_an_mp4_or_a_gif_and_the_mark_inside(tmp_path):
    with pytest.raises(ConfigError, match=r"\.mp4 or \.gif"):
        record(FakeAgent(), tmp_path / "x.avi")
    with pytest.raises(ConfigError, match="mark"):
        observe(FakeModel(), played(), "t", LENGTH)
