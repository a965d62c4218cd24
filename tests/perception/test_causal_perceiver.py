import pytest
import torch

from aime_agent.configs import from_dict, override, to_dict
from aime_agent.errors import ConfigError, ShapeError
from aime_agent.perception import CausalPerceiverIO, CausalPerceiverIOConfig

SMALL = {
    "image_size": 16,
    "downsample": 4,
    "code_dim": 8,
    "num_codes": 16,
    "base_channels": 8,
    "num_latents": 3,
    "num_latent_channels": 8,
    "num_attention_heads": 2,
    "num_encoder_layers": 1,
    "window": 3,
    "action_dim": 2,
    "query_dim": 4,
}
STALE = {**SMALL, "use_3d_conv": True, "temporal_downsample": True}
PRODUCT = {**SMALL, "num_quantizers": 2, "decoder": "patch"}


def video(num_frames=6, batch=2):
    return torch.rand(batch, num_frames, 3, 16, 16).double()


def build(settings=SMALL, **kwargs):
    torch.manual_seed(0)
    return CausalPerceiverIO(**{**settings, **kwargs}).double()


def test_seed_shape_table():
    model, frames = build(num_latent_channels=24, num_attention_heads=8), video()
    assert model.extract_context(frames).shape == (2, 6, 24)
    assert model.reconstruct(frames).shape == frames.shape
    tokens, vq_loss, perplexity = model.tokenizer.encode(frames)
    assert tokens.shape == (2, 6, 4, 4)
    assert vq_loss.shape == perplexity.shape == ()
    assert model.tokenizer.quantizer.codebook.shape == (1, 16, 8)


@pytest.mark.parametrize("settings", [SMALL, STALE, PRODUCT])
def test_context_never_depends_on_later_frames(settings):
    model, frames = build(settings), video().requires_grad_()
    weights = torch.arange(8.0).double()
    for t in (0, 2, 3):
        loss = (model.extract_context(frames)[0, t] * weights).sum()
        (grad,) = torch.autograd.grad(loss, frames)
        assert grad[:, t + 1 :].abs().sum() == 0
        assert grad[0, : t + 1].abs().sum() > 0
        assert grad[1].abs().sum() == 0


@pytest.mark.parametrize("settings", [SMALL, STALE, PRODUCT])
def test_context_of_a_prefix_is_a_prefix_of_the_context(settings):
    model, frames = build(settings).eval(), video()
    whole = model.extract_context(frames)
    for stop in (1, 4):
        prefix = model.extract_context(frames[:, :stop])
        torch.testing.assert_close(prefix, whole[:, :stop], rtol=0, atol=1e-10)


@pytest.mark.parametrize(("dtype", "atol"), [(torch.double, 1e-10), (torch.float, 1e-5)])
def test_steps_equal_the_whole_sequence_with_resets(dtype, atol):
    model, frames = build().to(dtype), video().to(dtype)
    is_first = torch.tensor([[1, 0, 0, 1, 0, 0], [0, 0, 1, 1, 0, 0]]).bool()
    whole = model.infer(frames, is_first)
    cache = model.initial_cache(2)
    for t in range(6):
        codes = whole.tokens.codes[:, t]
        context, cache = model.step(model.summarise(codes), is_first[:, t], cache)
        torch.testing.assert_close(context, whole.context[:, t], rtol=0, atol=atol)
    assert torch.equal(cache.valid, whole.cache.valid)


def test_infer_goes_on_from_its_cache():
    model, frames = build(), video()
    head = model.infer(frames[:, :2])
    tail = model.infer(frames[:, 2:], cache=head.cache)
    torch.testing.assert_close(tail.context, model(frames)[:, 2:])


def test_detach_stops_the_gradient():
    model, frames = build(), video()
    assert model.extract_context(frames).requires_grad
    assert not model.extract_context(frames, detach=True).requires_grad


@pytest.mark.parametrize("settings", [SMALL, STALE, PRODUCT])
def test_losses_add_up_and_train_every_parameter(settings):
    model = build(settings)
    losses = model.compute_loss(video(), torch.randn(2, 6, 2).double(), update_codebook=True)
    torch.testing.assert_close(losses.loss, sum(losses[1:4]))
    losses.loss.backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())
    assert model.tokenizer.quantizer.initialised


def test_no_token_is_predicted_across_an_episode():
    model, frames = build(), video(2)
    ends = torch.tensor([[True, True], [True, False]])
    alone = model.compute_loss(frames[1:], is_first=ends[1:]).ce_loss
    torch.testing.assert_close(model.compute_loss(frames, is_first=ends).ce_loss, alone)


def test_actions_matter_to_the_prediction():
    model, frames = build(), video()
    calm = model.compute_loss(frames).ce_loss
    assert model.compute_loss(frames, torch.ones(2, 6, 2).double()).ce_loss != calm


def test_shared_trunk_path():
    model = build(PRODUCT, feature_channels=6, context_dim=5)
    tokens = model.tokenizer.quantize(torch.randn(12, 6, 4, 4).double())
    summaries = model.summarise(tokens.codes).view(2, 6, -1)
    first = torch.zeros(2, 6, dtype=torch.bool)
    context, cache = model.mix(summaries, first, model.initial_cache(2))
    assert context.shape == (2, 6, 5)
    assert cache.summaries.shape == (2, 2, 8)
    with pytest.raises(ConfigError, match="feature_channels"):
        model.extract_context(video())


STRUCTURAL = {
    "in_channels": 1, "num_latents": 4, "num_latent_channels": 16, "context_dim": 5,
    "num_encoder_layers": 0, "widening_factor": 2, "code_dim": 4, "num_codes": 8, "image_size": 24,
    "codebook_size": 8, "downsample": 8, "base_channels": 16, "use_3d_conv": True,
    "num_quantizers": 2, "window": 4, "action_dim": 3, "query_dim": 8, "feature_channels": 5,
    "decoder": "patch", "video_shape": (7, 1, 24, 16), "num_attention_heads": 4,
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(STRUCTURAL))
def test_structural_keywords_change_the_weights(name):
    models = [
        build(),
        build(
            {**SMALL, name: STRUCTURAL[name]}
            if name != "codebook_size"
            else {k: v for k, v in SMALL.items() if k != "num_codes"},
            **({"codebook_size": 8} if name == "codebook_size" else {}),
        ),
    ]
    shapes = [{k: v.shape for k, v in m.state_dict().items()} for m in models]
    assert shapes[0] != shapes[1]


def test_other_keywords_arrive():
    config = CausalPerceiverIO(
        **SMALL,
        commitment_weight=0.5,
        decay=0.9,
        revival_threshold=0.2,
        feature_channels=4,
        grid_size=(3, 5),
    ).tokenizer.config
    assert (config.commitment_weight, config.decay, config.revival_threshold) == (0.5, 0.9, 0.2)
    assert config.grid == (3, 5)
    dropped, frames = build(dropout=0.5), video()
    assert not torch.equal(dropped(frames), dropped(frames))


def test_aliases_are_folded_and_do_not_stick():
    config = CausalPerceiverIOConfig(video_shape=(16, 1, 32, 48), codebook_size=64)
    assert (config.in_channels, config.image_size, config.num_codes) == (1, (32, 48), 64)
    assert override(config, num_codes=32, image_size=64).num_codes == 32
    assert from_dict(CausalPerceiverIOConfig, to_dict(config)) == config
    with pytest.raises(ConfigError, match="give one of them"):
        CausalPerceiverIO(num_codes=4, codebook_size=4)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"num_attention_heads": 3}, "num_attention_heads"),
        ({"dropout": 1.0}, "dropout"),
        ({"window": 0}, "window"),
        ({"num_encoder_layers": -1}, "num_encoder_layers"),
        ({"context_dim": 0}, "context_dim"),
        ({"latents": 3}, "num_latents"),
    ],
)
def test_bad_option_is_named(change, word):
    with pytest.raises(ConfigError, match=word):
        build(**change)


def test_wrong_shapes_name_the_remedy():
    with pytest.raises(ShapeError, match="image_size"):
        build().extract_context(torch.rand(1, 2, 3, 20, 20).double())
    with pytest.raises(ShapeError, match="quantize"):
        build().summarise(torch.rand(1, 8, 2, 8).double())


def test_saved_model_gives_the_same_context():
    model, twin, frames = build(), CausalPerceiverIO(**SMALL).double(), video()
    twin.load_state_dict(model.state_dict(), strict=True)
    assert torch.equal(twin(frames), model(frames))


def test_perception_learns_one_batch():
    model, frames = build(PRODUCT), video(4)
    adam = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for _ in range(25):
        out = model.compute_loss(frames, update_codebook=True)
        adam.zero_grad()
        out.loss.backward()
        adam.step()
        losses.append((out.reconstruction_loss.item(), out.ce_loss.item()))
    assert losses[-1][0] < 0.6 * losses[0][0]
    assert losses[-1][1] < losses[0][1]
