"""The adversarial task: whom its gradient reaches, and that every setting acts."""

import copy
from types import SimpleNamespace

import pytest
import torch
from laws import assert_equal
from torch.testing import assert_close

from aime_agent.errors import ConfigError, ShapeError
from aime_agent.functional.adversarial import hinge_generator_loss
from aime_agent.world_model import adversarial
from aime_agent.world_model.losses import SequenceData
from aime_agent.world_model.presets import preset
from aime_agent.world_model.sequence import pass_over

ON = {"generator": 0.1, "feature_matching": 0.1}


def data_of(film):
    return SequenceData(film.frames, film.actions, film.first, film.rewards, film.terminated)


@pytest.fixture
def pair(make):
    """Returns a function that gives a model with the task on, and its discriminators."""

    def build(weights=ON, **settings):
        model = make(weights=weights, adversarial=settings).train()
        return model, model.make_discriminators().eval()

    return build


def fit(model, judges, film):
    torch.manual_seed(3)
    return model.fit(data_of(film), discriminators=judges)


def decoder_gradient(model, loss):
    found = torch.autograd.grad(
        loss, list(model.decoder.parameters()), retain_graph=True, allow_unused=True
    )
    return [torch.zeros(1) if g is None else g for g in found]


# ------------------------------------------------------------------ off and on


def test_nothing_is_built_unless_it_is_weighed(make, film):
    plain = make().train()
    assert plain.make_discriminators() is None
    out = plain.fit(data_of(film))
    assert "adversarial" not in out.losses.tasks
    assert not any(k.startswith("adversarial") for k in out.metrics)


@pytest.mark.parametrize("name", adversarial.TERM_NAMES)
def test_each_weight_turns_its_own_term_on(pair, film, name):
    model, judges = pair({name: 0.5})
    out = fit(model, judges, film)
    assert {*out.losses.terms} & {*ON} == {name}
    assert_close(out.losses.tasks["adversarial"], 0.5 * out.losses.terms[name])


def test_discriminators_are_no_part_of_the_model(pair, make):
    model, judges = pair()
    assert [k for k, _ in model.named_parameters()] == [k for k, _ in make().named_parameters()]
    assert {p.dtype for p in judges.parameters()} == {torch.float64}


# ------------------------------------------------------------------ gradients


def test_generator_receives_the_gradient_and_discriminators_none(pair, film):
    model, judges = pair()
    out = fit(model, judges, film)
    assert all(g.any() for g in decoder_gradient(model, out.losses.tasks["adversarial"]))
    assert any(
        g.any()
        for g in torch.autograd.grad(
            out.losses.tasks["adversarial"],
            list(model.trunk.parameters()),
            retain_graph=True,
        )
    )
    out.losses.total.backward()
    assert all(p.grad is None for p in judges.parameters())
    assert all(p.requires_grad for p in judges.parameters())


def test_detached_reconstructions_cannot_pass_unnoticed(pair, film, monkeypatch):
    """W34: the seeds' generator loss had no gradient at all."""
    true = adversarial.films

    def detached(*args):
        seen = true(*args)
        return seen._replace(made=seen.made.detach())

    monkeypatch.setattr(adversarial, "films", detached)
    with pytest.raises(RuntimeError, match="does not require grad"):
        fit(*pair(), film)


def test_seeds_form_has_no_gradient_and_ours_has(pair, film):
    model, judges = pair()
    torch.manual_seed(3)
    passed = pass_over(model, data_of(film), sample=True)
    seen = adversarial.films(model, data_of(film), passed.patches, passed.beliefs.z)
    for made, reached in ((seen.made.detach(), False), (seen.made, True)):
        score = judges(made, seen.z, seen.is_first).logits["image"]
        loss = -torch.log(torch.sigmoid(score)).mean()
        assert any(g.any() for g in decoder_gradient(model, loss)) == reached


def test_gradient_is_that_of_the_discriminators_mean_logit(pair, film):
    """Against autograd straight through decoder and discriminators, without the short cut."""
    model, judges = pair({"generator": 1.0}, adaptive=False)
    twin = copy.deepcopy(model)
    out = fit(model, judges, film)
    found = decoder_gradient(model, out.losses.terms["generator"])
    torch.manual_seed(3)
    passed = pass_over(twin, data_of(film), sample=True, update_codebook=True)
    seen = adversarial.films(twin, data_of(film), passed.patches, passed.beliefs.z)
    logits = judges(seen.made, seen.z, seen.is_first).logits
    loss = (hinge_generator_loss(logits["image"]) + hinge_generator_loss(logits["temporal"])) / 2
    assert_close(out.losses.terms["generator"].detach(), loss.detach())
    assert_equal(found, decoder_gradient(twin, loss), rtol=1e-8, atol=1e-12)


def terms_at(model, judges, film, z=None):
    """The terms with the decoder's output and z as leaves."""
    g = torch.Generator().manual_seed(6)
    patches = torch.randn(12, 48, 8, 8, dtype=torch.float64, generator=g).mul(0.1).requires_grad_()
    z = torch.randn(2, 6, 12, dtype=torch.float64).requires_grad_() if z is None else z
    pixels = 300 * patches.square().mean()
    terms, metrics = adversarial.adversarial_terms(model, judges, data_of(film), patches, z, pixels)
    return SimpleNamespace(terms=terms, metrics=metrics, patches=patches, z=z, pixels=pixels)


def test_adaptive_weights_make_terms_shares_of_the_reconstruction(pair, film):
    at = terms_at(*pair(), film)
    target = torch.autograd.grad(at.pixels, at.patches)[0].norm()
    for name in ON:
        gradient = torch.autograd.grad(at.terms[name], at.patches)[0]
        assert_close(gradient.norm(), target)
        scale = at.metrics[f"adversarial/scale_{name}"]
        assert_close(at.terms[name].detach(), scale * at.metrics[f"adversarial/{name}"])


def test_adaptive_weight_has_its_limit(pair, film):
    at = terms_at(*pair(adaptive_limit=0.125), film)
    assert {float(at.metrics[f"adversarial/scale_{name}"]) for name in ON} == {0.125}


def test_latent_is_read_on_demand_and_gets_no_gradient(pair, film):
    for use, changes in ((False, False), (True, True)):
        model, judges = pair(use_latent=use, film_scale=2.0)
        at = terms_at(model, judges, film)
        loss = at.terms["generator"] + at.terms["feature_matching"]
        assert torch.autograd.grad(loss, at.z, allow_unused=True)[0] is None
        far = terms_at(model, judges, film, z=torch.full((2, 6, 12), 9.0, dtype=torch.float64))
        assert (at.terms["generator"] != far.terms["generator"]) == changes


def test_discriminator_loss_reaches_discriminators_alone(pair, film):
    model, judges = pair()
    at = terms_at(model, judges, film)
    seen = adversarial.films(model, data_of(film), at.patches, at.z)
    loss, metrics = adversarial.discriminator_loss(judges, seen)
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in judges.parameters())
    assert at.patches.grad is None
    assert at.z.grad is None
    assert {k for k in metrics if "logit" in k} == {
        f"adversarial/{name}_{kind}_logit"
        for name in ("image", "temporal")
        for kind in ("real", "fake")
    }


def test_both_kinds_of_frames_are_seen_in_one_scale(pair, film):
    """Perfect patches make a film equal to the real one."""
    from aime_agent.layers.conv import patchify

    model, _ = pair()
    patches = patchify(model.pixels.center(film.frames.flatten(0, 1)), model.config.patch)
    seen = adversarial.films(model, data_of(film), patches, torch.zeros(2, 6, 12).double())
    assert_close(seen.made, seen.real)
    assert_close(seen.real.flatten(0, 1), model.pixels.encoder_input(film.frames.flatten(0, 1)))


def test_freezing_is_undone_even_by_an_error(pair):
    judges = pair()[1].train()
    judges.image.to_logit.bias.requires_grad_(False)

    def fails():
        assert not judges.training
        assert not any(p.requires_grad for p in judges.parameters())
        raise KeyError

    with pytest.raises(KeyError), adversarial.frozen(judges):
        fails()
    assert judges.training
    still = [k for k, p in judges.named_parameters() if not p.requires_grad]
    assert still == ["image.to_logit.bias"]


# ------------------------------------------------------------------ settings


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"image": False}, {"temporal"}),
        ({"temporal": False}, {"image"}),
        ({"ndf": 3}, None),
        ({"image_layers": 2}, None),
        ({"units": 16}, None),
        ({"num_layers": 2}, None),
        ({"patch_size": 8}, None),
        ({"use_latent": True}, None),
    ],
)
def test_setting_changes_the_networks(pair, film, change, part):
    model, judges = pair(**change)
    sizes = [sum(p.numel() for p in x.parameters()) for x in (judges, pair()[1])]
    assert sizes[0] != sizes[1]
    out = terms_at(model, judges, film)
    assert all(x.isfinite() for x in out.terms.values())
    if part:
        assert {k for k, _ in judges.named_children()} == part


def test_heads_change_the_logits(pair, film):
    torch.manual_seed(0)
    found = []
    for heads in (2, 4):
        torch.manual_seed(0)
        judges = pair(num_heads=heads)[1]
        logits = judges(film.frames, torch.zeros(2, 6, 12).double(), film.first).logits
        found.append(logits["temporal"])
    assert not torch.equal(*found)


def test_windows_longer_than_the_setting_are_refused(pair, film):
    with pytest.raises(ShapeError, match="a larger max_sequence_length"):
        fit(*pair(max_sequence_length=5), film)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"adversarial": {"units": 8}}, r"has settings \(\['units'\]\), but the task is off"),
        ({"weights": ON, "adversarial": {"unit": 8}}, "Did you mean 'units'"),
        ({"weights": ON, "adversarial": {"image": False, "temporal": False}}, "found neither"),
        ({"weights": ON, "adversarial": {"adaptive_limit": 0.0}}, "adaptive_limit must be above 0"),
        ({"weights": ON, "adversarial": {"num_heads": 3}}, "multiple of twice n_heads"),
        ({"gram_every": 0}, "gram_every must be at least 1"),
    ],
)
def test_mistake_is_named(make, settings, text):
    with pytest.raises(ConfigError, match=text):
        make(**settings).make_discriminators()


def test_widths_follow_the_preset():
    config = preset("small", weights=ON).adversarial_config()
    assert (config.ndf, config.units, config.patch_size) == (16, 64, 16)
    assert preset("small", weights=ON, adversarial={"ndf": 5}).adversarial_config().ndf == 5


@pytest.mark.parametrize("name", ["generator", "feature_matching"])
def test_pass_without_discriminators_says_where_they_are(make, film, name):
    with pytest.raises(ConfigError, match=r"fit\(\.\.\., discriminators=\.\.\.\)"):
        make().compute_total_loss(film.frames, film.actions, **{name: 1.0})


# ------------------------------------------------------------------ Gram loss


def slow_copy(model, shift=0.3):
    teacher = copy.deepcopy(model).requires_grad_(False).eval()
    torch.manual_seed(8)
    for parameter in teacher.parameters():
        parameter += shift * torch.randn_like(parameter)
    return teacher


def gram_gradients(model, film, teacher):
    model.zero_grad()
    torch.manual_seed(3)
    losses = model.fit(data_of(film), teacher=teacher).losses
    losses.total.backward()
    return losses, {k: p.grad for k, p in model.named_parameters() if p.grad is not None}


@pytest.fixture
def student(make):
    return make(weights={"gram": 50.0}, gram_every=2).train()


def test_gram_loss_is_zero_against_oneself_and_pulls_the_trunk_alone(student, film):
    assert gram_gradients(student, film, slow_copy(student, 0.0))[0].terms["gram"] == 0
    losses, _ = gram_gradients(student, film, slow_copy(student))
    assert losses.terms["gram"] > 0
    torch.manual_seed(3)
    term = student.fit(data_of(film), teacher=slow_copy(student)).losses.terms["gram"]
    names, parameters = zip(*student.named_parameters(), strict=True)
    found = torch.autograd.grad(term, parameters, allow_unused=True)
    reached = {n.split(".")[0] for n, g in zip(names, found, strict=True) if g is not None}
    assert reached == {"trunk"}


def test_teacher_is_only_read(student, film):
    """Its weights stay, it gets no gradient, and nothing of the student hangs on it afterwards."""
    teacher = slow_copy(student)
    before = {k: v.clone() for k, v in teacher.state_dict().items()}
    weights = {k: v.clone() for k, v in student.state_dict().items()}
    _, gradients = gram_gradients(student, film, teacher)
    assert_equal(teacher.state_dict(), before)
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    kept = {k: g.clone() for k, g in gradients.items()}
    for parameter in teacher.parameters():
        parameter.fill_(7.0)
    del teacher
    assert_equal({k: p.grad for k, p in student.named_parameters() if k in kept}, kept)
    frozen_codes = {k: v for k, v in student.state_dict().items() if "quantizer" not in k}
    assert_equal(frozen_codes, {k: weights[k] for k in frozen_codes})


def test_teacher_acts_through_the_loss_alone(student, film):
    """Two copies of one teacher give one gradient; another teacher another."""
    teacher = slow_copy(student)
    start = copy.deepcopy(student)
    first = gram_gradients(copy.deepcopy(start), film, teacher)[1]
    same = gram_gradients(copy.deepcopy(start), film, copy.deepcopy(teacher))[1]
    other = gram_gradients(copy.deepcopy(start), film, slow_copy(start, 0.1))[1]
    assert_equal(first, same)
    differs = {k.split(".")[0] for k in first if not torch.equal(first[k], other[k])}
    assert differs == {"trunk"}


def test_gram_every_chooses_frames(make, film):
    found = []
    for every in (1, 2, 3):
        model = make(weights={"gram": 1.0}, gram_every=every).train()
        torch.manual_seed(3)
        losses = model.fit(data_of(film), teacher=slow_copy(model)).losses
        found.append(float(losses.terms["gram"].detach()))
    assert len(set(found)) == 3


def test_seeds_weight_and_key_of_the_gram_loss(make, film):
    model = make()
    with pytest.raises(ConfigError, match=r"lambda_gram weighs a Gram loss.*teacher="):
        model.compute_total_loss(film.frames, film.actions, lambda_gram=0.05)
    plain, out = model.compute_total_loss(film.frames, film.actions, lambda_gram=0.0)
    with pytest.raises(KeyError, match="teacher=EMA"):
        out["gram_enc"]
    with torch.no_grad():
        losses, out = model.compute_total_loss(
            film.frames, film.actions, teacher=slow_copy(model), lambda_gram=0.5
        )
    assert out["gram_enc"][0] == losses["gram_enc_loss"] == losses["gram"] > 0
    assert "gram_enc" in set(out)
    assert "gram_enc_loss" not in plain
