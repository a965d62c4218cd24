import pytest
import torch

from aime_agent.errors import ConfigError, ShapeError
from aime_agent.perception.tokenizer import VQPTTokenizer

SMALL = {"code_dim": 8, "num_codes": 16, "base_channels": 8, "image_size": 16, "downsample": 4}
TIME = {**SMALL, "use_3d_conv": True}
STALE = {**TIME, "temporal_downsample": True}
PRODUCT = {**SMALL, "num_quantizers": 2}
PATCH = {**SMALL, "decoder": "patch"}
FINITE = {**SMALL, "quantizer": "fsq", "levels": (4, 4)}
FINITE_PRODUCT = {**FINITE, "num_quantizers": 2}
ROTATION = {**SMALL, "code_gradient": "rotation"}
ALL = [SMALL, TIME, STALE, PRODUCT, PATCH, FINITE, FINITE_PRODUCT, ROTATION]


def video(num_frames=5, batch=2, **kwargs):
    return torch.rand(batch, num_frames, 3, 16, 16, **kwargs)


@pytest.mark.parametrize("settings", ALL)
def test_encode_and_decode_keep_the_seeds_shapes(settings):
    tokenizer = VQPTTokenizer(**settings)
    tokens, vq_loss, perplexity = tokenizer.encode(video())
    trailing = (2,) if settings in (PRODUCT, FINITE_PRODUCT) else ()
    assert tokens.shape == (2, 5, 4, 4, *trailing)
    assert tokens.dtype == torch.long
    assert 0 <= tokens.min() <= tokens.max() < 16
    assert vq_loss.shape == perplexity.shape == ()
    assert 1 <= perplexity <= 16
    assert tokenizer.decode(tokens).shape == (2, 5, 3, 16, 16)


@pytest.mark.parametrize("settings", ALL)
def test_ids_decode_like_the_codes_they_stand_for(settings):
    tokenizer = VQPTTokenizer(**settings).double()
    out = tokenizer.infer(video().double())
    torch.testing.assert_close(tokenizer.decode(out.ids), tokenizer.decode(out.codes))


@pytest.mark.parametrize("settings", ALL)
def test_reconstruction_never_depends_on_later_frames(settings):
    tokenizer = VQPTTokenizer(**settings).double()
    frames = video().double().requires_grad_()
    out = tokenizer.infer(frames)
    signals = (out.codes[:, 3], out.commitment[:, 3], tokenizer.decode(out.codes)[:, 3])
    for signal in (x for x in signals if x.requires_grad):
        (grad,) = torch.autograd.grad(signal.square().sum(), frames, retain_graph=True)
        assert grad[:, 4].abs().max() == 0
        assert grad[:, :4].abs().max() > 0


@pytest.mark.parametrize("settings", ALL)
def test_tokens_of_a_prefix_are_a_prefix_of_the_tokens(settings):
    tokenizer, frames = VQPTTokenizer(**settings).double(), video().double()
    for stop in (1, 3):
        prefix = tokenizer.infer(frames[:, :stop])
        torch.testing.assert_close(prefix.codes, tokenizer.infer(frames).codes[:, :stop])


def test_only_time_convolutions_look_back():
    for settings, looks in ((SMALL, False), (TIME, True)):
        frames = video().double().requires_grad_()
        VQPTTokenizer(**settings).double().infer(frames).codes[:, 3].square().sum().backward()
        assert bool(frames.grad[:, 2].abs().max() > 0) is looks


def test_temporal_downsample_repeats_ids_forward():
    tokens = VQPTTokenizer(**STALE).encode(video()).tokens
    assert torch.equal(tokens[:, 0::2][:, :2], tokens[:, 1::2])
    fresh = VQPTTokenizer(**TIME).encode(video()).tokens
    assert not torch.equal(fresh[:, 0::2][:, :2], fresh[:, 1::2])


def loss_of(tokenizer, frames, update=False):
    out = tokenizer.infer(frames, update_codebook=update)
    return (tokenizer.decode(out.codes) - frames).square().mean() + out.commitment.mean()


@pytest.mark.parametrize("settings", ALL)
def test_every_parameter_gets_a_gradient(settings):
    tokenizer = VQPTTokenizer(**settings)
    loss_of(tokenizer, video()).backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in tokenizer.parameters())


def test_pixel_loss_falls_on_one_batch():
    torch.manual_seed(0)
    tokenizer, frames = VQPTTokenizer(**PATCH), video()
    adam = torch.optim.Adam(tokenizer.parameters(), 1e-2)
    losses = []
    for _ in range(30):
        loss = loss_of(tokenizer, frames, update=True)
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_shared_trunk_needs_no_encoder():
    tokenizer = VQPTTokenizer(**PATCH, feature_channels=6)
    out = tokenizer.quantize(torch.randn(3, 6, 4, 4))
    assert tokenizer.encoder is None
    assert (out.codes.shape, out.ids.shape, out.commitment.shape) == ((3, 8, 4, 4), (3, 4, 4), (3,))
    torch.testing.assert_close(tokenizer.lookup(out.ids), out.codes)
    assert tokenizer.decode_codes(out.codes).shape == (3, 3, 16, 16)
    with pytest.raises(ConfigError, match=r"call quantize\(features\)"):
        tokenizer.encode(video())


@pytest.mark.parametrize("decoder", ["patch", "unet"])
def test_grid_of_the_trunk_may_differ_from_the_image_ratio(decoder):
    settings = {**SMALL, "image_size": (84, 63), "downsample": 8, "decoder": decoder}
    tokenizer = VQPTTokenizer(**settings, feature_channels=6, grid_size=(10, 8))
    codes = tokenizer.quantize(torch.randn(1, 6, 10, 8)).codes
    assert tokenizer.decode_codes(codes).shape == (1, 3, 84, 63)


def test_patch_decoder_paints_each_cell_in_place():
    tokenizer = VQPTTokenizer(**PATCH)
    codes = torch.zeros(1, 8, 4, 4, requires_grad=True)
    tokenizer.decode_codes(codes)[0, :, 12:, :4].square().sum().backward()
    rows, columns = codes.grad[0].abs().sum(0).nonzero(as_tuple=True)
    assert set(zip(rows.tolist(), columns.tolist(), strict=True)) == {
        (2, 0),
        (2, 1),
        (3, 0),
        (3, 1),
    }


def test_commitment_weight_scales_the_loss():
    torch.manual_seed(0)
    tokenizer = VQPTTokenizer(**SMALL)
    half = VQPTTokenizer(**SMALL, commitment_weight=0.125)
    half.load_state_dict(tokenizer.state_dict())
    frames = video()
    torch.testing.assert_close(half.encode(frames).vq_loss * 2, tokenizer.encode(frames).vq_loss)


@pytest.mark.parametrize(
    "change",
    [
        {"in_channels": 1},
        {"code_dim": 4},
        {"num_codes": 8},
        {"downsample": 8},
        {"base_channels": 16},
        {"feature_channels": 9},
        {"decoder": "patch"},
        {"use_3d_conv": True},
        {"num_quantizers": 2},
        {"quantizer": "fsq"},
    ],
)
def test_structural_keywords_change_the_weights(change):
    shapes = [
        {k: v.shape for k, v in VQPTTokenizer(**s).state_dict().items()}
        for s in (SMALL, {**SMALL, **change})
    ]
    assert shapes[0] != shapes[1]


def test_levels_decide_the_number_of_codes():
    config = VQPTTokenizer(**{**SMALL, "quantizer": "fsq"}).config
    assert (config.num_codes, config.levels) == (1000, (8, 5, 5, 5))


def test_quantiser_settings_arrive():
    assert VQPTTokenizer(**ROTATION).quantizer.config.gradient == "rotation"
    quantizer = VQPTTokenizer(**SMALL, decay=0.5, revival_threshold=0.3).quantizer.config
    assert (quantizer.decay, quantizer.revival_threshold) == (0.5, 0.3)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"downsample": 3}, "downsample"),
        ({"downsample": 32}, "image_size"),
        ({"temporal_downsample": True}, "use_3d_conv"),
        ({"use_3d_conv": True, "feature_channels": 4}, "own encoder"),
        ({"grid_size": (3, 3)}, "grid_size"),
        ({"commitment_weight": -1.0}, "commitment_weight"),
        ({"codes": 4}, "num_codes"),
        ({"quantizer": "fsq", "code_gradient": "rotation"}, "code_gradient acts with"),
        ({"quantizer": "fsq", "levels": (1, 5)}, "levels"),
    ],
)
def test_bad_option_is_named(change, word):
    with pytest.raises(ConfigError, match=word):
        VQPTTokenizer(**{**SMALL, **change})


def test_wrong_shapes_name_the_remedy():
    tokenizer = VQPTTokenizer(**SMALL)
    with pytest.raises(ShapeError, match="repeated forward to all T frames"):
        tokenizer.decode(torch.zeros(2, 5, 16, dtype=torch.long))
    with pytest.raises(ShapeError, match="image_size"):
        tokenizer.encode(torch.rand(2, 5, 3, 32, 32))


def test_defaults_give_an_eight_by_eight_grid_at_64_pixels():
    config = VQPTTokenizer(base_channels=8).config
    assert config.grid == (8, 8)
    assert (config.num_codes, config.code_dim) == (1024, 256)
