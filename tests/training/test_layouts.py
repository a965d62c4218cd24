"""Layouts of films: honest dreams, known pixels, readable files; with a tiny agent in a toy world."""

import os
import signal
import weakref
from types import SimpleNamespace

import imageio.v3
import numpy as np
import pytest
import torch
from PIL import Image

from aime_agent.agents.aime import AgentSpec, AimeAgent
from aime_agent.agents.presets import agent_preset
from aime_agent.cli.main import main
from aime_agent.errors import ConfigError, DataError
from aime_agent.training import frames, legends
from aime_agent.training.film import write_film
from aime_agent.training.frames import Show, overlay_frame
from aime_agent.training.panels import BACKGROUND, PALETTE, Grid, contours_panel
from aime_agent.training.players import random_player, zero_player
from aime_agent.training.record_config import LAYOUTS, RecordConfig
from aime_agent.training.scenes import Seat, seat
from aime_agent.training.video import record
from aime_agent.training.views import View, branches, dream, watch
from aime_agent.world_model.presets import preset
from tests.training.toy import ToyEnv

CELLS, SLOTS = 8, 3


class Counted(ToyEnv):
    """Counts its steps, and shows noise from one of them on."""

    def __init__(self, noise_from=10**9):
        self.steps, self.noise_from = 0, noise_from

    def reset(self, *, seed=None, options=None):
        self.steps = 0
        seen, info = super().reset(seed=seed)
        self.left = 30
        return seen, info

    def step(self, action):
        self.steps += 1
        seen, *rest = super().step(action)
        if self.steps >= self.noise_from:
            seen = np.random.default_rng(self.steps).integers(0, 256, seen.shape, np.uint8)
        return seen, *rest


class ToyFilmAgent(AimeAgent):
    """An untrained agent of the toy world."""

    def make_env(self, render_mode=None, **changes):
        return Counted()


@pytest.fixture(scope="module")
def agent():
    world = preset("tiny", action_dim=2, image_size=32)
    settings = agent_preset("tiny", actor_units=8)
    made = ToyFilmAgent(
        AgentSpec(task="toy", preset="tiny", image_size=32, world_model=world, agent=settings)
    )
    torch.manual_seed(0)
    with torch.no_grad():  # nothing may hide behind weights that begin at zero
        for weights in made.world_model.parameters():
            weights.add_(0.1 * torch.randn_like(weights))
    return made


def view(**changes):
    even = np.full((CELLS, CELLS), 1 / CELLS**2)
    maps = np.tile(even, (SLOTS, 1, 1))
    picture = np.full((32, 32, 3), 90, np.uint8)
    known = View(4, picture, even, maps, np.ones(SLOTS), np.zeros((SLOTS, 2)), 0.5, 2.5)
    return known._replace(**changes)


def show(**changes):
    return Show("toy", "trained agent", 20.0, 0, 20, None, 3.0, 4)._replace(**changes)


def cell(frame, i):
    grid = Grid.of(32, 4)
    x, y = grid.corner(i)
    return frame[y : y + grid.panel, x : x + grid.panel]


def test_watching_numbers_the_steps_and_adds_the_rewards(agent):
    seen = list(watch(agent.world_model, Counted(), random_player(2, 0), 3, 8, first_step=2))
    assert [v.step for v in seen] == list(range(2, 10))
    assert np.allclose(np.diff([v.total for v in seen]), [v.reward for v in seen][1:])
    assert not any(v.dreamt for v in seen)
    assert all(v.attention.sum() == pytest.approx(1, abs=1e-4) for v in seen)


def test_a_dream_takes_no_step_in_the_environment_after_its_start(agent):
    env = Counted()
    seen = list(dream(agent.world_model, env, zero_player(2), 0, 9, mark=4))
    assert env.steps == 3
    assert [v.dreamt for v in seen] == [False] * 4 + [True] * 5
    assert [v.step for v in seen] == list(range(9))


def test_a_dream_depends_on_its_start_and_its_seed_alone(agent):
    def frames_of(seed, env):
        views = dream(agent.world_model, env, zero_player(2), seed, 7, mark=4)
        return np.stack([v.picture for v in views])[4:]

    assert np.array_equal(frames_of(0, Counted()), frames_of(0, Counted(noise_from=4)))
    assert not np.array_equal(frames_of(0, Counted()), frames_of(0, Counted(noise_from=3)))


def test_a_player_that_needs_the_state_cannot_play_in_a_dream(agent):
    def act(seen, memory, turn):
        if seen.state is None:
            raise DataError("a state vector required")
        return np.zeros(2, np.float32), memory

    class Both(Counted):
        def current_observation(self):
            return {"pixels": super().current_observation(), "state": np.zeros(3)}

    env = Both()
    player = zero_player(2)._replace(act=act, needs_state=True)
    with pytest.raises(DataError, match="state"):
        list(dream(agent.world_model, env, player, 0, 8, mark=3))


def test_futures_see_nothing_from_the_mark_on(agent):
    model, zero = agent.world_model, zero_player(2)
    clean, dirty, late = (
        list(branches(model, Counted(k), zero, 0, 8, mark=4, samples=3)) for k in (99, 4, 3)
    )
    assert all(moment.pictures is None for moment in clean[:4])
    for a, b, c in zip(clean[4:], dirty[4:], late[4:], strict=True):
        assert np.array_equal(a.pictures, b.pictures)
        assert not np.array_equal(a.real.picture, b.real.picture)
        assert not np.array_equal(a.pictures, c.pictures)
    assert clean[-1].since == pytest.approx(sum(m.real.reward for m in clean[4:]))
    assert len(clean[-1].totals) == 3


def test_futures_differ_by_temperature_alone(agent):
    def last(temperature):
        moments = branches(agent.world_model, Counted(), zero_player(2), 0, 7, 3, 2, temperature)
        return list(moments)[-1].pictures

    cold, warm = last(0.0), last(1.0)
    assert np.array_equal(cold[0], cold[1])
    assert not np.array_equal(warm[0], warm[1])


def test_overlay_is_hot_in_the_cell_that_is_attended():
    attention = np.zeros((CELLS, CELLS))
    attention[2, 6] = 1.0
    panel = cell(overlay_frame(show(), view(attention=attention), [0.5]), 1).astype(float)
    warmth = panel[..., 0] - panel[..., 2]
    y, x = np.unravel_index(warmth.argmax(), warmth.shape)
    assert (y // 16, x // 16) == (2, 6)


def test_overlay_marks_what_is_dreamt():
    real, dreamt = (
        overlay_frame(show(mark=m), view(dreamt=d), [0.5] * 5) for m, d in ((9, False), (2, True))
    )
    grid = Grid.of(32, 4)
    right, bottom = grid.corner(0)[0] + grid.panel + 4, grid.corner(0)[1] + grid.panel
    orange = [
        (f[:bottom, :right] == np.array(frames.DREAMED)).all(-1).sum() for f in (real, dreamt)
    ]
    assert orange[0] == 0
    assert orange[1] > 300


def test_contours_surround_a_square():
    maps = np.zeros((2, CELLS, CELLS))
    maps[0], maps[1, 2:6, 2:6] = 0.4, 0.6
    maps[0, 2:6, 2:6] = 0.0
    black = np.zeros((32, 32, 3), np.uint8)
    panel = np.asarray(contours_panel(black, maps, np.ones(2), np.full((2, 2), -0.9), 128))
    inside = np.argwhere((panel == np.array(PALETTE[1])).all(-1))
    inside = inside[(inside > 24).all(1)]  # not the disc of the centre
    assert abs(inside.min(0) - 32).max() <= 4
    assert abs(inside.max(0) - 95).max() <= 4
    assert not panel[60:68, 60:68].any()


def test_seven_slots_keep_apart_without_green_cones():
    """Viénot, Brettel and Mollon (1999): deuteranopes see R' = .29275 R + .70725 G in R and G."""
    colours = (np.array(PALETTE[:7]) / 255) ** 2.2
    seen = colours @ np.array(
        [[0.29275, 0.29275, -0.02234], [0.70725, 0.70725, 0.02234], [0, 0, 1]]
    )
    seen = seen.clip(0, 1) ** (1 / 2.2) * 255
    apart = np.abs(seen[:, None] - seen[None]).max(-1) + 999 * np.eye(len(seen))
    assert apart.min() > 25


def test_words_and_legends_are_large_enough_to_read():
    frame = overlay_frame(show(scale=5), view(), [0.5])
    caption = (frame[:40] != np.array(BACKGROUND)).any(-1).any(1)
    assert caption.sum() >= 10
    legend = Image.fromarray(frame).crop((frame.shape[1] * 2 // 3, 0, *frame.shape[1::-1]))
    assert {PALETTE[s] for s in range(SLOTS)} <= {c for _, c in legend.getcolors(10**6)}


def test_a_key_never_leaves_its_panel():
    image = legends.legend_panel(160, 12, 3.0, np.ones(8))
    assert image.size == (160, 160)
    assert not (np.asarray(image)[-1] != np.array(BACKGROUND)).any()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_every_layout_makes_films_that_can_be_read_back(agent, tmp_path, layout, suffix):
    path, sheet = tmp_path / f"film{suffix}", tmp_path / "sheet.png"
    record(agent, path, layout=layout, steps=6, scale=2, sheet=sheet)
    shown = np.stack(list(imageio.v3.imiter(path)))
    stride = 3 if suffix == ".gif" else 1  # 30 frames per second, a GIF has at most 12.5
    assert len(shown) == 6 // stride
    grid = Grid.of(32, 2)
    assert shown.shape[1:3] == (grid.height, grid.width)
    assert not (grid.height % 2)
    assert not (grid.width % 2)
    assert sheet.stat().st_size > 500
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name, "sheet.png"]


def test_a_dream_is_filmed_and_marked(agent, tmp_path):
    path = record(agent, tmp_path / "d.mp4", layout="overlay", inside_dream=True, steps=6, scale=2)
    assert len(list(imageio.v3.imiter(path))) == 6


def test_gif_paints_all_frames_with_one_palette(tmp_path):
    rng = np.random.default_rng(0)
    pictures = [np.full((32, 32, 3), rng.integers(0, 256, 3), np.uint8) for _ in range(12)]
    write_film(tmp_path / "x.gif", iter(pictures), 30)
    with Image.open(tmp_path / "x.gif") as gif:
        palettes = []
        for k in range(gif.n_frames):
            gif.seek(k)
            palettes.append(gif.global_palette and bytes(gif.global_palette.palette))
    assert len(palettes) == 4
    assert len(set(palettes)) == 1
    assert palettes[0]


def test_no_more_than_two_frames_are_alive(tmp_path):
    alive, most = weakref.WeakSet(), []

    class Frame(np.ndarray):
        __hash__ = object.__hash__

    def stream():
        for _ in range(20):
            frame = np.zeros((32, 32, 3), np.uint8).view(Frame)
            alive.add(frame)
            most.append(len(alive))
            yield frame
            del frame

    write_film(tmp_path / "x.mp4", stream(), 30)
    assert max(most) <= 2


def test_ctrl_c_leaves_a_film_that_plays(agent, tmp_path, monkeypatch):
    drawn, draw = [], frames.overlay_frame

    def interrupting(*args):
        drawn.append(args)
        if len(drawn) == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return draw(*args)

    monkeypatch.setattr("aime_agent.training.scenes.overlay_frame", interrupting)
    with pytest.raises(KeyboardInterrupt, match="first 4 frames"):
        record(agent, tmp_path / "x.mp4", layout="overlay", steps=20, scale=2)
    assert len(list(imageio.v3.imiter(tmp_path / "x.mp4"))) == 4


def test_compare_refuses_another_task_and_waits_for_the_longer_episode(agent, tmp_path):
    config = SimpleNamespace(task="other", action_repeat=2)
    stranger = SimpleNamespace(config=config, world_model=agent.world_model)
    with pytest.raises(ConfigError, match="one task for both required, found 'toy' and 'other'"):
        record(agent, tmp_path / "x.mp4", layout="compare", other=Seat(stranger, zero_player(2)))

    class Short(ToyFilmAgent):
        def make_env(self, render_mode=None, **changes):
            return ToyEnv()

    short = Short(agent.config)
    path = record(
        agent, tmp_path / "x.mp4", layout="compare", other=seat(short, "zero"), steps=20, scale=2
    )
    assert len(list(imageio.v3.imiter(path))) == 20


def test_anything_with_predict_plays(agent, tmp_path):
    class Policy:
        asked = 0

        def predict(self, observation, state=None, episode_start=None, deterministic=True):
            self.asked += 1
            return np.zeros((1, 2), np.float32), state

    policy = Policy()
    record(agent, tmp_path / "x.mp4", layout="overlay", policy=policy, steps=4, scale=2)
    assert policy.asked == 4


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"layout": "overly"}, "'overlay'"),
        ({"steps": 201}, r"steps must be in 3\.\.200, found 201"),
        ({"samples": 6, "layout": "futures"}, r"samples must be in 1\.\.5"),
        ({"temperature": -1.0}, "temperature"),
        ({"inside_dream": True}, "layout 'overlay'"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, said):
    with pytest.raises(ConfigError, match=said):
        RecordConfig(**settings)


def test_long_films_are_allowed_where_nothing_is_kept():
    assert RecordConfig(layout="overlay", steps=1000).begins(1000) == 250


def test_the_command_films_all_layouts_of_all_runs(agent, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("aime_agent.cli.record.load", lambda run, device, sb3=False: agent)
    (tmp_path / "run").mkdir()
    words = ["record-all", str(tmp_path / "run"), "--out", str(tmp_path / "films")]
    assert main([*words, "--steps", "4", "--scale", "1"]) == 0
    names = {p.name for p in (tmp_path / "films").iterdir()}
    assert names == {f"toy-{layout}{end}" for layout in LAYOUTS for end in (".mp4", ".png")}
    assert capsys.readouterr().out.count("written to") == len(LAYOUTS)


@pytest.mark.parametrize(
    "words", ["--layout overlay --policy zero", "--layout compare --other zero"]
)
def test_the_command_films_other_policies(agent, tmp_path, monkeypatch, words):
    monkeypatch.setattr("aime_agent.cli.record.load", lambda run, device, sb3=False: agent)
    film = tmp_path / "x.gif"
    command = ["record", str(tmp_path), *words.split(), "--steps", "4", "--scale", "1"]
    assert main([*command, "--out", str(film)]) == 0
    assert film.exists()
