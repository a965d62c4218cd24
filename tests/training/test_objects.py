"""Protocol of the object benchmark: data, baselines, scores and the report."""

import json
import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from aime_agent.envs.make import make_env
from aime_agent.envs.segmentation import Parts, Segmented
from aime_agent.errors import ConfigError
from aime_agent.training import object_baselines as baselines
from aime_agent.training import objects
from aime_agent.training.evaluate import random_policy
from aime_agent.training.object_pictures import heated, object_sheet, painted
from aime_agent.training.panels import heat
from aime_agent.training.segmented import SegmentedEpisodes, collect_segmented
from aime_agent.world_model.model import AimeWorldModel
from aime_agent.world_model.presets import preset

PARTS = Parts(names=("world", "torso", "arm", "hand"), parents=np.array([0, 0, 1, 2], np.int32))


def made_up(episodes=2, steps=6, side=32):
    """A torso (1) and an arm (2) with its hand (3) that walk to the right over a dark floor."""
    bodies = np.zeros((episodes, steps, side, side), np.uint16)
    for t in range(steps):
        bodies[:, t, 8:16, t : t + 8] = 1
        bodies[:, t, 16:22, t : t + 4] = 2
        bodies[:, t, 22:24, t : t + 4] = 3
    colours = np.array([[20, 20, 20], [250, 0, 0], [0, 250, 0], [0, 0, 250]], np.uint8)
    actions = np.zeros((episodes, steps, 6), np.float32)
    rewards = np.zeros((episodes, steps), np.float32)
    return SegmentedEpisodes(
        colours[bodies], bodies, actions, rewards, PARTS, tuple(range(episodes))
    )


def bodies_of(data):
    return torch.from_numpy(data.bodies.astype(np.int64))


def test_truth_at_the_three_levels():
    data = made_up()
    found = {
        level: set(objects.truth_at(data, level).unique().tolist()) for level in objects.LEVELS
    }
    assert found == {"agent": {0, 1}, "limbs": {0, 1, 2}, "bodies": {0, 1, 2, 3}}
    data.bodies[:, :, 23] = 0
    assert -1 in objects.truth_at(data, "bodies")


def test_the_truth_itself_scores_perfectly():
    truth = objects.truth_at(made_up(), "bodies")
    scores = objects.score(truth, truth)
    best = {name: value.mean for name, value in scores.items() if name != "switch_rate"}
    assert best == {name: pytest.approx(1.0) for name in best}
    assert scores["switch_rate"].mean == 0.0
    assert len(best) == 7


def test_scores_are_means_over_episodes_of_means_over_frames():
    truth = objects.truth_at(made_up(), "limbs")
    predicted = truth.clone()
    predicted[0] = 0
    found = objects.score(truth, predicted)["fg_ari"]
    assert found.mean == pytest.approx(0.5)
    low, high = found.ci95
    assert low < 0
    assert high > 1


def test_one_foreground_segment_has_no_fg_ari():
    truth = objects.truth_at(made_up(), "agent")
    scores = objects.score(truth, truth)
    assert math.isnan(scores["fg_ari"].mean)
    assert math.isnan(scores["video_fg_ari"].mean)
    assert scores["fg_ari"].ci95 is None
    assert scores["ari"].mean == pytest.approx(1.0)


def test_a_swap_of_labels_costs_in_the_film_alone():
    truth = objects.truth_at(made_up(), "limbs")
    swapped = truth.clone()
    swapped[:, 3:] = torch.tensor([0, 2, 1])[truth[:, 3:]]
    scores = objects.score(truth, swapped)
    assert scores["fg_ari"].mean == pytest.approx(1.0)
    assert scores["video_fg_ari"].mean < 0.1
    assert scores["switch_rate"].mean == pytest.approx(1 / 5)


def test_k_means_on_colours_finds_what_colours_tell_apart():
    data = made_up()
    points = baselines.pixel_features(data.frames, positions=False)
    labels = baselines.k_means(points, 4, np.random.default_rng(0)).view(data.bodies.shape)
    scores = objects.score(bodies_of(data), labels)
    assert scores["ari"].mean == pytest.approx(1.0)
    assert scores["video_fg_ari"].mean == pytest.approx(1.0)


def test_k_means_by_hand_and_with_more_clusters_than_colours():
    line = torch.tensor([[[[0.0], [1.0], [9.0], [10.0]]]])
    labels = baselines.k_means(line, 2, np.random.default_rng(0))[0, 0]
    assert labels[0] == labels[1] != labels[2] == labels[3]
    same = baselines.k_means(torch.zeros(1, 2, 5, 1), 3, np.random.default_rng(0))
    assert same.unique().numel() == 1


def test_positions_are_rows_and_columns():
    points = baselines.pixel_features(np.zeros((1, 1, 2, 3, 3), np.uint8), positions=True)
    assert_close(points[0, 0, 5], torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0]))
    assert_close(points[0, 0, 1, 3:], torch.tensor([0.0, 0.5]))


def test_stripes_random_and_earlier_labels():
    assert baselines.stripes((1, 1, 2, 5), 2)[0, 0, 1].tolist() == [0, 0, 0, 1, 1]
    rng = np.random.default_rng
    drawn = baselines.random_labels((2, 3, 8, 8), 5, rng(0))
    assert torch.equal(drawn, baselines.random_labels((2, 3, 8, 8), 5, rng(0)))
    truth = bodies_of(made_up())
    assert torch.equal(baselines.earlier(truth, 2), truth[:, :-2])


def test_resolution_bounds_what_a_map_shows():
    truth = bodies_of(made_up())
    assert torch.equal(baselines.at_resolution(truth, 32), truth)
    ari = [
        objects.score(truth, baselines.at_resolution(truth, side))["fg_ari"].mean
        for side in (4, 8, 16)
    ]
    assert ari == sorted(ari)
    assert ari[0] < 0.9 < ari[-1]


def test_attention_is_measured_against_a_uniform_map():
    data = made_up()
    agent = torch.from_numpy(data.bodies > 0).double()
    uniform = torch.full((2, 6, 8, 8), 1 / 64).double()
    cells = torch.nn.functional.adaptive_avg_pool2d(agent, 8)
    own = cells / cells.sum((-2, -1), keepdim=True)
    labels = bodies_of(data)
    seen = objects.Seen(labels, labels, uniform.float(), own.float())
    found = objects.score_attention(data, seen)
    assert found["uniform_mass"].mean == pytest.approx(agent.mean().item(), rel=1e-5)
    assert found["map_ratio"].mean == pytest.approx(1.0, rel=1e-4)
    assert found["evidence_ratio"].mean == pytest.approx(found["ceiling_ratio"].mean, rel=1e-4)
    assert found["ceiling_ratio"].mean > 5
    assert len(list(objects.attention_lines(found))) == 3


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    world = AimeWorldModel(preset("tiny", image_size=32))
    world.begin(torch.from_numpy(made_up().frames).permute(0, 1, 4, 2, 3).flatten(0, 1))
    return world


def test_a_model_is_looked_at_episode_by_episode(model):
    data = made_up()
    seen = objects.look(model, data)
    assert seen.masks.shape == seen.shares.shape == data.bodies.shape
    assert seen.attention.shape == (2, 6, 8, 8)
    alone = objects.look(model, data._replace(frames=data.frames[1:], actions=data.actions[1:]))
    assert torch.equal(alone.masks[0], seen.masks[1])
    frames = torch.from_numpy(data.frames[:1]).permute(0, 1, 4, 2, 3)
    with torch.no_grad():
        out = model.forward_sequence(frames, torch.from_numpy(data.actions[:1]))
        assert torch.equal(model.slot_masks(out.beliefs)[0].argmax(1), seen.masks[0])


def test_a_model_without_maps_is_refused():
    world = AimeWorldModel(preset("tiny", image_size=32, use_attention=False))
    with pytest.raises(ConfigError, match=r"use_slots and use_attention are required.*False"):
        objects.look(world, made_up())


def test_report_is_json_with_all_levels_and_what_repeats_it(model, tmp_path):
    data = made_up()
    seen = objects.look(model, data)
    table = objects.merge(
        objects.score_model(data, seen), objects.score_baselines(data, (8, 16), 0)
    )
    found = objects.report(data, table, objects.score_attention(data, seen), task="t", seed=0)
    objects.save_report(tmp_path / "a" / "b.json", found)
    read = json.loads((tmp_path / "a" / "b.json").read_text())
    assert read["episode_seeds"] == [0, 1]
    assert set(read["levels"]) == set(objects.LEVELS)
    rows = set(read["levels"]["bodies"])
    assert {"slot masks", "slots on the grid", "5 stripes", "random", "truth 4 steps ago"} <= rows
    assert {
        "k-means RGB 2",
        "k-means RGB 5",
        "k-means RGBxy 5",
        "truth at 8 x 8",
        "truth at 16 x 16",
    } <= rows
    assert read["levels"]["agent"]["random"]["fg_ari"]["mean"] is None
    assert {"torch", "mujoco"} <= set(read["versions"])
    printed = list(objects.lines(table))
    assert len(printed) == 2 + len(rows)
    assert len({len(line) for line in printed[1:]}) == 1


def test_picture_shows_truth_masks_and_heat(tmp_path):
    data = made_up()
    hot = np.zeros((8, 8))
    hot[0, 0] = 1.0
    path = object_sheet(
        data, data.bodies.astype(np.int64), np.full((2, 6, 8, 8), 1 / 64), tmp_path / "s.png"
    )
    assert path.stat().st_size < 300_000
    assert (painted(np.array([[0, 1]]))[0, 0] == 0).all()
    assert not (painted(np.array([[0, 1]]), first=0)[0, 0] == 0).all()
    lit = heated(np.zeros((32, 32, 3), np.uint8), hot)
    assert lit[:4, :4].min() > lit[4:, 4:].max()
    even = heated(np.zeros((32, 32, 3), np.uint8), np.full((8, 8), 1 / 64))
    assert even.max() < 0.5 * lit.max()
    half = heated(np.zeros((32, 32, 3), np.uint8), np.full((8, 8), 3 / 64))
    expected = 0.8 * np.sqrt(0.5) * heat(np.full((1, 1), 0.5))[0, 0]
    assert np.array_equal(half[0, 0], expected.astype(np.uint8))


@pytest.mark.render
def test_collected_episodes_are_those_of_their_seeds():
    env = Segmented(make_env("cartpole-swingup", render_quality="minimal", image_size=32))
    data = collect_segmented(env, random_policy(env.action_space, 0), 2, 3, seed=5)
    again, _ = env.reset(seed=data.seeds[1])
    assert np.array_equal(again, data.frames[1, 0])
    for action in data.actions[1, :2]:
        observation, _, _, _, info = env.step(action)
    assert np.array_equal(observation, data.frames[1, 2])
    assert np.array_equal(info["segmentation"], data.bodies[1, 2])
    assert (data.actions[:, -1] == 0).all()
    with pytest.raises(ConfigError, match="steps must be at least 2, found 1"):
        collect_segmented(env, random_policy(env.action_space, 0), 1, 1, seed=5)
    env.close()


@pytest.mark.render
def test_coarser_labels_are_refused():
    env = Segmented(make_env("cartpole-swingup", image_size=32), "agent")
    with pytest.raises(ConfigError, match=r"level='bodies'.* found 'agent'"):
        collect_segmented(env, random_policy(env.action_space, 0), 1, 2, seed=5)
    env.close()
