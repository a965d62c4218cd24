"""Pictures of slots."""

import pytest
import torch
from torch.testing import assert_close

from aime_agent.attention import visualize as vis
from aime_agent.errors import ConfigError, ShapeError


def scene(slots=2):
    maps = torch.zeros(1, slots, 4, 4)
    maps[:, 0, :, :2] = 1.0
    maps[:, 1, :, 2:] = 1.0
    centers = torch.tensor([[[-0.5, 0.0], [0.5, 0.0]]])
    return torch.zeros(1, 3, 16, 16), maps, centers


@pytest.mark.parametrize(
    ("mode", "names"),
    [
        ("all", {"slot_overlays", "semantic_segmentation", "combined_with_contours"}),
        ("slots", {"slot_overlays"}),
        ("groups", {"semantic_segmentation"}),
        ("combined", {"combined_with_contours"}),
    ],
)
def test_each_mode_returns_its_pictures(mode, names):
    out = vis.visualize_slots(*scene(), return_mode=mode)
    assert set(out) == names
    assert all(x.min() >= 0 and x.max() <= 1 and x.shape[1:] == (3, 16, 16) for x in out.values())


def test_overlays_come_one_per_slot():
    assert vis.visualize_slots(*scene())["slot_overlays"].shape == (2, 3, 16, 16)


def test_segmentation_colours_the_halves():
    picture = vis.visualize_slots(*scene())["semantic_segmentation"][0]
    assert_close(picture[:, 8, 2], torch.tensor(vis.PALETTE[0]))
    assert_close(picture[:, 8, 13], torch.tensor(vis.PALETTE[1]))


def test_groups_decide_ownership_where_they_are_given():
    image, maps, centers = scene()
    groups = maps.flip(1).movedim(1, -1)
    picture = vis.visualize_slots(image, maps, centers, groups, "groups")["semantic_segmentation"]
    assert_close(picture[0, :, 8, 2], torch.tensor(vis.PALETTE[1]))


def test_contours_lie_between_labels():
    labels = torch.zeros(1, 3, 4, dtype=torch.long)
    labels[..., 2:] = 1
    assert vis.contours(labels)[0].nonzero().tolist() == [[0, 1], [1, 1], [2, 1]]


def test_centres_are_drawn_where_they_are():
    image, _, centers = scene()
    picture = vis.draw_centers(image, centers, radius=0.1)
    assert_close(picture[0, :, 8, 4], torch.tensor(vis.PALETTE[0]))
    assert picture[0, :, 0, 0].sum() == 0


def test_grey_frames_and_many_slots_work():
    out = vis.visualize_slots(torch.rand(1, 1, 8, 8), torch.rand(1, 9, 4, 4), torch.zeros(1, 9, 2))
    assert out["slot_overlays"].shape == (9, 3, 8, 8)


def test_palette_colours_differ():
    colours = torch.tensor(vis.PALETTE)
    assert (torch.cdist(colours, colours) + torch.eye(8) * 9).min() > 0.2


def test_bad_mode_and_channels_are_named():
    with pytest.raises(ConfigError, match="return_mode must be one of 'all'"):
        vis.visualize_slots.__wrapped__(*scene(), None, "maps")
    with pytest.raises(ShapeError, match="1 or 3 channels required, found 4"):
        vis.as_rgb(torch.rand(1, 4, 8, 8))
