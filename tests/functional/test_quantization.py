import torch

from aime_agent.functional import quantization as vq


def test_nearest_code_equals_brute_force():
    z, e = torch.randn(2, 1100, 3).double(), torch.randn(2, 7, 3).double()
    assert torch.equal(vq.nearest_code(z, e), torch.cdist(z, e).argmin(-1))


def test_ema_update_equals_hand_computation_on_three_vectors():
    codes = torch.tensor([[[0.0], [10.0]]]).double()
    book = vq.Codebook(codes, torch.ones(1, 2).double(), codes.clone())
    z = torch.tensor([[[1.0], [2.0], [9.0]]]).double()
    ids = vq.nearest_code(z, codes)
    batch = vq.CodeStatistics(vq.code_counts(ids, codes), vq.code_sums(z, ids, codes))
    assert batch.counts.tolist() == [[2.0, 1.0]]
    assert batch.sums.flatten().tolist() == [3.0, 9.0]
    new = vq.ema_update(book, batch, decay=0.5, epsilon=1.0)
    # N = (1.5, 1), m = (1.5, 9.5), total 2.5; smoothed = (2.5, 2) / 4.5 · 2.5
    torch.testing.assert_close(new.counts, torch.tensor([[1.5, 1.0]]).double())
    want = torch.tensor([1.5 / (6.25 / 4.5), 9.5 / (5.0 / 4.5)]).double()
    torch.testing.assert_close(new.codes.flatten(), want)


def test_ids_survive_codes_and_back_in_product_quantisation():
    codes = torch.randn(3, 11, 4)
    ids = torch.randint(11, (20, 3))
    assert torch.equal(vq.codes_to_ids(vq.ids_to_codes(ids, codes), codes), ids)


def test_straight_through_has_the_quantised_value_and_the_plain_gradient():
    z = torch.tensor([1.2], requires_grad=True)
    out = vq.straight_through(z, torch.tensor([1.0]))
    (3.0 * out).sum().backward()
    torch.testing.assert_close(out.detach(), torch.tensor([1.0]))
    assert z.grad.item() == 3.0


def test_perplexity_is_one_for_one_code_and_k_for_even_use():
    counts = torch.tensor([[4.0, 0.0, 0.0], [5.0, 5.0, 5.0]])
    torch.testing.assert_close(vq.perplexity(counts), torch.tensor([1.0, 3.0]))


def test_revival_replaces_dead_codes_only_and_zero_turns_it_off():
    codes = torch.zeros(1, 2, 1)
    book = vq.Codebook(codes, torch.tensor([[9.0, 0.1]]), codes.clone())
    new = vq.revive(book, torch.full((1, 2, 1), 5.0), threshold=0.1)
    assert new.codes.flatten().tolist() == [0.0, 5.0]
    torch.testing.assert_close(new.counts, torch.tensor([[9.0, 4.55]]))
    torch.testing.assert_close(new.sums / new.counts.unsqueeze(-1), new.codes)
    assert torch.equal(vq.revive(book, codes + 5, threshold=0.0).codes, codes)


def rotated(z, q, seed=0):
    """Values and gradients of codes under a fixed upstream gradient."""
    z = z.clone().requires_grad_()
    out = vq.rotate_to_code(z, q)
    upstream = torch.randn(z.shape, generator=torch.Generator().manual_seed(seed)).to(z)
    out.backward(upstream)
    return out.detach(), z.grad, upstream


def test_rotation_changes_no_value_and_scales_the_gradient_by_the_ratio_of_lengths():
    z, q = torch.randn(2, 40, 6).double()
    out, grad, upstream = rotated(z, q)
    torch.testing.assert_close(out, q)
    ratio = q.norm(dim=-1) / z.norm(dim=-1)
    torch.testing.assert_close(grad.norm(dim=-1), ratio * upstream.norm(dim=-1))


def test_rotation_keeps_the_angle_between_gradient_and_code():
    z, q = torch.randn(2, 40, 6).double()
    _, grad, upstream = rotated(z, q)
    before = torch.cosine_similarity(upstream, q, dim=-1)
    torch.testing.assert_close(torch.cosine_similarity(grad, z, dim=-1), before)


def test_rotation_by_hand():
    """A quarter turn and a doubling: the gradient along q arrives along z, twice as long."""
    z = torch.tensor([[1.0, 0.0]], requires_grad=True)
    out = vq.rotate_to_code(z, torch.tensor([[0.0, 2.0]]))
    (out * torch.tensor([[0.0, 1.0]])).sum().backward()
    torch.testing.assert_close(z.grad, torch.tensor([[2.0, 0.0]]))


def test_rotation_without_a_direction_copies_the_gradient():
    zero, some = torch.zeros(1, 3), torch.ones(1, 3)
    for z, q in ((zero, some), (some, zero), (zero, zero)):
        out, grad, upstream = rotated(z, q)
        assert torch.equal(out, q)
        torch.testing.assert_close(grad, upstream)
    out, grad, upstream = rotated(some, -some)
    torch.testing.assert_close(out, -some)
    torch.testing.assert_close(grad.norm(), upstream.norm())
