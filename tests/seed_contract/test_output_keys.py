"""Everything that the original's `forward_sequence` is known to return is served, or explained."""

import pytest
import torch

from aime_agent.world_model.outputs import _ABSENT

# Shapes without [B, T]; B = 2, T = 4 and the sizes of `tiny` at 32 pixels.
STACKED = {
    "observations": (3, 32, 32),
    "reconstructions": (3, 32, 32),
    "reconstruction": (3, 32, 32),
    "latents": (12,),
    "z_means": (12,),
    "z_logvars": (12,),
    "hidden_states": (64,),
    "context_states": (32,),
    "context_sequence": (32,),
    "attention_features": (3, 24),
    "slot_features": (3, 24),
    "attention_states": (8, 8),
    "attention_maps": (8, 8),
    "slot_attention_maps": (3, 8, 8),
    "slot_centers": (3, 2),
    "slot_mass": (3,),
    "group_assignments": (8, 8, 3),
}
PER_STEP = ["kl_losses", "kl_latents", "reconstruction_losses", "kumaraswamy_kl_losses"]
AVERAGED = ["attention_losses", "cluster_entropies", "attention_diversity_losses"]
SCALARS = [
    "dynamics_loss",
    "diversity_loss",
    "attention_dynamics_loss",
    "perceiver_vq_loss",
    "perceiver_ce_loss",
    "perceiver_total_loss",
]


@pytest.fixture(scope="module")
def outputs(tiny):
    torch.manual_seed(3)
    return tiny.forward_sequence(torch.rand(2, 4, 3, 32, 32), torch.rand(2, 4, 6))


@pytest.mark.parametrize("key", STACKED)
def test_stacked_key_has_its_shape(outputs, key):
    assert outputs[key].shape == (2, 4, *STACKED[key])


@pytest.mark.parametrize("key", PER_STEP)
def test_loss_over_time_is_a_list_of_frames(outputs, key):
    assert len(outputs[key]) == 4
    assert all(step.shape == (2,) and step.requires_grad for step in outputs[key])


@pytest.mark.parametrize("key", AVERAGED)
def test_averaged_loss_is_a_list_too(outputs, key):
    (loss,) = outputs[key]
    assert loss.requires_grad


@pytest.mark.parametrize("key", SCALARS)
def test_scalar_loss_carries_a_graph(outputs, key):
    assert outputs[key].shape == ()
    assert outputs[key].requires_grad


def test_perceiver_total_is_the_sum_of_its_terms(outputs):
    names = ("token_reconstruction", "commitment", "token_prediction", "context_prediction")
    total = sum(outputs.terms[name].mean() for name in names)
    torch.testing.assert_close(outputs["perceiver_total_loss"], total)


def test_subtracting_cluster_entropies_adds_the_usage_loss(outputs):
    assert outputs["cluster_entropies"][0] == -outputs.terms["usage"]


def test_parameters_of_prior_and_posterior(outputs):
    prior, posterior = outputs["prior_params"], outputs["posterior_params"]
    assert prior["pi"].shape == (2, 4, 5)
    assert prior["means"].shape == prior["log_vars"].shape == (2, 4, 5, 12)
    assert prior["kumar_a"].shape == prior["kumar_b"].shape == (2, 4, 4)
    assert prior["alpha"].shape == (2, 4, 1)
    assert torch.equal(posterior["mu"], outputs["z_means"])
    torch.testing.assert_close(posterior["std"].square().log(), posterior["logvar"])


def test_effective_components_of_a_fresh_prior_are_all(outputs):
    torch.testing.assert_close(outputs["K_eff"], torch.tensor(5.0), rtol=0.01, atol=0)
    assert 1 <= outputs["perplexity"] <= 64


def test_movements_are_those_between_frames(outputs):
    assert torch.equal(torch.stack(outputs["predicted_movements"], 1), outputs.beliefs.shift[:, 1:])


def test_keys_and_attributes_are_the_same(outputs):
    assert outputs["reconstructions"] is outputs.reconstructions
    assert len(list(outputs)) == len(outputs) == len(set(outputs))
    assert all(outputs[key] is not None for key in outputs)


def test_evaluation_has_no_losses_and_says_where_they_are(tiny):
    tiny.eval()
    out = tiny.forward_sequence(torch.rand(1, 3, 3, 32, 32), torch.rand(1, 3, 6))
    tiny.train()
    assert not {*PER_STEP, *AVERAGED, *SCALARS} & set(out)
    with pytest.raises(KeyError, match="forward_sequence in training mode"):
        out["kl_latents"]


@pytest.mark.parametrize("key", _ABSENT)
def test_key_that_the_model_cannot_have_says_why(outputs, key):
    assert key not in outputs
    with pytest.raises(KeyError, match=f"'{key}': .{{20}}"):
        outputs[key]


def test_unknown_key_names_the_nearest(outputs):
    with pytest.raises(KeyError, match="Did you mean 'latents'"):
        outputs["latent"]
