"""Discriminators: what a logit may depend on, and that they learn to tell real from made."""

import pytest
import torch
from laws import assert_equal, batch_equals_singles, every_parameter_gets_gradient, is_causal
from torch.nn import functional as F

from aime_agent.errors import ConfigError, ShapeError
from aime_agent.functional.adversarial import (
    feature_matching_loss,
    hinge_discriminator_loss,
    hinge_generator_loss,
)
from aime_agent.representation import ImageDiscriminator, TemporalDiscriminator

SMALL = {
    "image_size": 32,
    "hidden_dim": 16,
    "n_layers": 2,
    "n_heads": 2,
    "z_dim": 5,
    "max_sequence_length": 8,
}


def image(**settings):
    torch.manual_seed(0)
    return ImageDiscriminator(**{"ndf": 4, **settings}).double().eval()


def temporal(**settings):
    torch.manual_seed(0)
    return TemporalDiscriminator(**{**SMALL, **settings}).double().eval()


def films(batch=2, length=6, side=32):
    g = torch.Generator().manual_seed(3)
    return torch.rand(batch, length, 3, side, side, generator=g, dtype=torch.float64)


def blobs(count, length, side=32):
    """Films of a bright square that moves to the lower right."""
    g = torch.Generator().manual_seed(4)
    width = side // 4
    start = torch.randint(0, side - width - length, (count, 2), generator=g)
    axis = torch.arange(side)
    out = torch.zeros(count, length, 3, side, side)
    for t in range(length):
        corner = start + t
        inside = [
            (axis >= corner[:, i : i + 1]) & (axis < corner[:, i : i + 1] + width) for i in range(2)
        ]
        out[:, t] = (inside[0][:, :, None] & inside[1][:, None]).float()[:, None]
    return out


def blurred(frames):
    return F.avg_pool2d(frames.flatten(0, -4), 5, 1, 2).view_as(frames)


# ------------------------------------------------------------------ laws


def test_every_parameter_gets_gradient():
    every_parameter_gets_gradient(image(), lambda m: m(films()[0]))
    z = torch.rand(2, 6, 5, dtype=torch.float64)
    for rope in (True, False):
        model = temporal(use_rope_temporal=rope)
        every_parameter_gets_gradient(model, lambda m: m.infer(films(), z).logits)


def test_logits_belong_to_their_own_example():
    batch_equals_singles(lambda x: image().infer(x), films()[0])
    batch_equals_singles(lambda x: temporal().infer(x)[:3], films())


@pytest.mark.parametrize("rope", [True, False])
def test_frame_is_judged_by_what_came_before(rope):
    model = temporal(use_rope_temporal=rope)
    is_causal(lambda x: model.infer(x)[:3], films(), 3)
    for part, reached in (("spatial", False), ("temporal", True)):
        changed = films()
        changed[:, 0] += 1
        moved = getattr(model.infer(changed), part) != getattr(model.infer(films()), part)
        assert moved[:, 4].all() == reached


def test_no_look_across_an_episodes_end():
    first = torch.zeros(2, 6, dtype=torch.bool)
    first[:, 3] = True
    changed = films()
    changed[:, :3] = 0
    model = temporal()
    now, then = (model.infer(x, is_first=first).logits for x in (films(), changed))
    assert torch.equal(now[:, 3:], then[:, 3:])
    assert (model.infer(films()).logits[:, 3:] != model.infer(changed).logits[:, 3:]).all()


def test_rotary_positions_see_distances_only():
    """A film that is shifted in time, its past cut off, is judged alike."""
    first = torch.zeros(2, 6, dtype=torch.bool)
    first[:, 2] = True
    model = temporal()
    late = model.infer(films(), is_first=first).logits[:, 2:]
    early = model.infer(films()[:, 2:]).logits
    torch.testing.assert_close(late, early)
    order = films()[:, [1, 0, 2, 3, 4, 5]]
    assert (model.infer(order).temporal[:, 5] != model.infer(films()).temporal[:, 5]).all()


def test_frames_beyond_a_films_length_do_not_count():
    model, lengths = temporal(), torch.tensor([2, 6])
    scores = model(films(), sequence_lengths=lengths)
    torch.testing.assert_close(scores["final_score"][:1], model(films()[:1, :2])["final_score"])
    assert torch.equal(scores["sequence_lengths"], lengths)
    frames = scores["per_frame_scores"][..., 0]
    expected = torch.stack([frames[0, :2].mean(), frames[1].mean()])
    torch.testing.assert_close(scores["final_score"][:, 0], expected)


def test_scores_have_the_originals_keys_and_shapes():
    scores = temporal()(films(), torch.rand(2, 5).double(), return_features=True)
    shapes = {k: tuple(v.shape) for k, v in scores.items() if isinstance(v, torch.Tensor)}
    assert shapes == {
        "temporal_score": (2, 1),
        "spatial_score": (2, 1),
        "per_frame_scores": (2, 6, 1),
        "final_score": (2, 1),
        "sequence_lengths": (2,),
        "hidden_3d": (2, 6, 16, 16),
    }
    assert scores["spatial_shape"] == (4, 4)
    assert len(scores["features"]) == 3


def test_latent_acts_by_its_scale():
    z = torch.rand(2, 6, 5).double()
    plain = temporal().infer(films()).logits
    assert (temporal().infer(films(), z).logits != plain).all()
    assert torch.equal(temporal(film_scale=0.0).infer(films(), z).logits, plain)
    whole = z[:, :1].expand(-1, 6, -1)
    assert_equal(temporal().infer(films(), whole).logits, temporal().infer(films(), z[:, 0]).logits)


def test_weights_have_unit_spectral_norm_whatever_their_size():
    model = image().train()
    with torch.no_grad():
        for layer in model.layers:
            layer.parametrizations.weight.original.mul_(100)
    for _ in range(20):
        model(films()[0])
    largest = [torch.linalg.matrix_norm(x.weight.flatten(1), 2) for x in model.layers]
    torch.testing.assert_close(torch.stack(largest), torch.ones(3).double(), rtol=0.02, atol=0)


def test_eval_mode_changes_no_buffer():
    model = temporal()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model.infer(films())
    assert_equal(model.state_dict(), before)
    model.train().infer(films())
    assert any(not torch.equal(v, before[k]) for k, v in model.state_dict().items())


# ------------------------------------------------------------------ settings


@pytest.mark.parametrize(
    ("make", "settings", "shape"),
    [
        (image, {"n_layers": 2}, (6, 8, 8)),
        (image, {"n_layers": 4, "ndf": 2}, (6, 2, 2)),
        (temporal, {"patch_size": 16}, (2, 6)),
        (temporal, {"patch_size": 20}, (2, 6)),
        (temporal, {"n_layers": 1, "n_heads": 4, "rope_base": 100.0}, (2, 6)),
    ],
)
def test_settings_change_the_logits(make, settings, shape):
    x = films()[0] if make is image else films()
    changed, plain = make(**settings).infer(x).logits, make().infer(x).logits
    assert changed.shape == shape
    assert changed.shape != plain.shape or not torch.equal(changed, plain)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: image(ndf=0), ConfigError, "ImageDiscriminatorConfig.ndf must be at least 1"),
        (lambda: image(n_layers=6)(films()[0]), ShapeError, "sides of at least 64"),
        (lambda: temporal(n_heads=3), ConfigError, r"multiple of twice n_heads \(6\)"),
        (lambda: temporal(z_dim=-1), ConfigError, "z_dim must be at least 0, found -1"),
        (lambda: temporal(rope_base=1.0), ConfigError, "rope_base must be above 1"),
        (lambda: temporal().infer(films(length=9)), ShapeError, "at most 8 frames, found 9"),
        (lambda: temporal().infer(films(side=48)), ShapeError, "films: dimension 3 must be 32"),
        (
            lambda: temporal(z_dim=0).infer(films(), torch.rand(2, 5).double()),
            ConfigError,
            "build it with its width as z_dim",
        ),
        (
            lambda: temporal().infer(films(), torch.rand(2, 6, 4).double()),
            ShapeError,
            "z: dimension 2 must be 5, found 4",
        ),
        (lambda: image(ndfs=3), ConfigError, "Did you mean 'ndf'"),
    ],
)
def test_mistake_is_named(call, error, text):
    with pytest.raises(error, match=text):
        call()


# ------------------------------------------------------------------ learning


def learn(model, logits, real, fake, steps):
    adam = torch.optim.Adam(model.parameters(), 2e-3, betas=(0.5, 0.9))
    model.train()
    for _ in range(steps):
        adam.zero_grad()
        hinge_discriminator_loss(logits(model, real), logits(model, fake)).backward()
        adam.step()
    return model.eval()


def test_image_discriminator_learns_to_see_blur():
    torch.manual_seed(0)
    frames = blobs(24, 1)[:, 0]
    real, held_out = frames[:16], frames[16:]
    model = learn(ImageDiscriminator(ndf=8), lambda m, x: m(x), real, blurred(real), 60)
    with torch.no_grad():
        real_score, fake_score = (model(x).mean((1, 2)) for x in (held_out, blurred(held_out)))
    assert real_score.min() > fake_score.max()


def test_temporal_discriminator_learns_which_way_time_runs():
    """Real films grow brighter, the others darker: each frame alone is as likely in both."""
    torch.manual_seed(0)
    level = 0.4 * torch.rand(96, 1) + 0.2 * torch.arange(4)
    real = level[:, :, None, None, None].expand(-1, -1, 3, 16, 16).contiguous()
    size = {"image_size": 16, "patch_size": 8, "n_layers": 1, "z_dim": 0}
    model = TemporalDiscriminator(**{**SMALL, **size})
    learn(model, lambda m, x: m.infer(x).temporal[:, 1:], real[:64], real[:64].flip(1), 80)
    with torch.no_grad():
        found = [model.infer(x).temporal[:, 1:].mean(1) for x in (real[64:], real[64:].flip(1))]
    right = ((found[0] > 0).float().mean() + (found[1] < 0).float().mean()) / 2
    assert right > 0.9


def spread(films):
    """Mean and deviation of each pixel over a batch, the statistics to be met."""
    return torch.stack([films.mean(0), films.std(0)])


def test_generator_meets_the_datas_statistics_by_the_adversarial_term_alone():
    """A linear generator of 8-pixel frames, from noise; it never sees a real frame."""
    torch.manual_seed(0)
    stripes = torch.tensor([1.0, 0.0]).repeat(4).expand(1, 8, 8)
    real = stripes + 0.2 * torch.randn(64, 1, 8, 8)
    maker = torch.nn.Linear(6, 64)
    judge = ImageDiscriminator(input_channels=1, ndf=16, n_layers=2)
    play = torch.optim.Adam(maker.parameters(), 1e-2, betas=(0.5, 0.9))
    learn_to_see = torch.optim.Adam(judge.parameters(), 4e-3, betas=(0.5, 0.9))

    def made():
        return maker(torch.randn(64, 6)).view(64, 1, 8, 8)

    def distance():
        with torch.no_grad():
            return float((spread(made()) - spread(real)).abs().mean())

    before = distance()
    for _ in range(150):
        learn_to_see.zero_grad()
        hinge_discriminator_loss(judge(real), judge(made().detach())).backward()
        learn_to_see.step()
        play.zero_grad()
        hinge_generator_loss(judge(made())).backward()
        play.step()
    assert distance() < 0.5 * before


def test_feature_matching_alone_reconstructs():
    torch.manual_seed(0)
    real = blobs(4, 1)[:, 0]
    made = torch.zeros_like(real).requires_grad_()
    judge = ImageDiscriminator(ndf=8).eval()
    adam = torch.optim.Adam([made], 0.02)
    start, errors, features = (made - real).square().mean().item(), [], []
    for _ in range(60):
        adam.zero_grad()
        loss = feature_matching_loss(judge.infer(real).features, judge.infer(made).features)
        loss.backward()
        adam.step()
        features.append(loss.item())
        errors.append((made - real).square().mean().item())
    assert features[-1] < 0.3 * features[0]
    assert errors[-1] < 0.7 * start
