import pytest
import torch

from aime_agent.perception.frame_encoder import PerceiverSizes
from aime_agent.perception.mixer import CausalMixer, MixerCache


def build(window=3, context_dim=5, **sizes):
    torch.manual_seed(0)
    return CausalMixer(
        window, context_dim, PerceiverSizes(**{"width": 8, "num_heads": 2, **sizes})
    ).double()


def run(mixer, summaries, is_first=None, cache=None):
    first = torch.zeros(summaries.shape[:2], dtype=torch.bool) if is_first is None else is_first
    return mixer(summaries, first, mixer.initial_cache(len(summaries)) if cache is None else cache)


def sequence(num_frames=9, batch=2):
    return torch.randn(batch, num_frames, 8).double(), torch.rand(batch, num_frames) < 0.25


@pytest.mark.parametrize("window", [1, 2, 4, 12])
@pytest.mark.parametrize("chunks", [[9], [1] * 9, [2, 5, 1, 1], [4, 5]])
def test_chunks_and_steps_equal_the_whole_sequence_with_resets(window, chunks):
    mixer = build(window)
    summaries, is_first = sequence()
    whole, last = run(mixer, summaries, is_first)
    cache, pieces = mixer.initial_cache(2), []
    for s, f in zip(summaries.split(chunks, 1), is_first.split(chunks, 1), strict=True):
        piece, cache = mixer(s, f, cache)
        pieces.append(piece)
    torch.testing.assert_close(torch.cat(pieces, 1), whole, rtol=0, atol=1e-10)
    assert torch.equal(cache.valid, last.valid)
    torch.testing.assert_close(cache.summaries, last.summaries)


def test_reset_equals_a_fresh_start():
    mixer, (summaries, _) = build(), sequence()
    is_first = torch.zeros(2, 9, dtype=torch.bool)
    is_first[:, 4] = True
    fresh, _ = run(mixer, summaries[:, 4:])
    torch.testing.assert_close(run(mixer, summaries, is_first)[0][:, 4:], fresh)
    assert not torch.allclose(run(mixer, summaries)[0][:, 4:6], fresh[:, :2])


def test_context_sees_exactly_its_window():
    mixer, (summaries, _) = build(window=3), sequence()
    summaries.requires_grad_()
    run(mixer, summaries)[0][0, 6].square().mul(torch.arange(5)).sum().backward()
    assert summaries.grad[0].abs().sum(-1).nonzero().flatten().tolist() == [4, 5, 6]
    assert summaries.grad[1].abs().max() == 0


def test_order_of_the_past_matters():
    mixer, (summaries, _) = build(window=3), sequence(3)
    swapped = summaries[:, [1, 0, 2]]
    assert not torch.allclose(run(mixer, swapped)[0][:, 2], run(mixer, summaries)[0][:, 2])


def test_context_has_mean_zero_and_variance_one():
    context, _ = run(build(context_dim=32), sequence()[0])
    torch.testing.assert_close(context.mean(-1), torch.zeros(2, 9).double())
    torch.testing.assert_close(
        context.var(-1, correction=0), torch.ones(2, 9).double(), atol=1e-3, rtol=0
    )


def test_single_frame_window_is_the_plain_formula():
    mixer, (s, _) = build(window=1), sequence()
    mixed = s + mixer.to_out(mixer.to_key_value(mixer.norm(s))[..., 8:])
    want = mixer.context_norm(mixer.to_context(mixed + mixer.mlp(mixed)))
    torch.testing.assert_close(run(mixer, s)[0], want)


def test_every_parameter_gets_a_gradient():
    mixer = build()
    (run(mixer, sequence()[0])[0] * torch.randn(2, 9, 5)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 1e-9 for p in mixer.parameters())


def test_cache_follows_the_parameters_and_starts_empty():
    cache = build().initial_cache(4)
    assert isinstance(cache, MixerCache)
    assert cache.summaries.dtype == torch.double
    assert (cache.summaries.shape, cache.valid.shape) == ((4, 2, 8), (4, 2))
    assert not cache.valid.any()


def test_dropout_acts_in_training_only():
    mixer, (summaries, _) = build(dropout=0.5), sequence()
    assert not torch.equal(run(mixer, summaries)[0], run(mixer, summaries)[0])
    mixer.eval()
    assert torch.equal(run(mixer, summaries)[0], run(mixer, summaries)[0])
