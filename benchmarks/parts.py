"""The parts of a train step one by one, forward and backward, on what a real pass hands them."""

import torch

from aime_agent.attention.slot_filter import SlotTokens
from aime_agent.world_model.losses import (
    attention_terms,
    consistency_loss,
    control_terms,
    latent_kl,
    perceiver_terms,
    reconstruction_error,
)
from aime_agent.world_model.sequence import pass_over
from aime_agent.world_model.state import map_tree

LEARNED = ("slots", "slots_hat", "log_evidence", "log_attention_hat", "shift")


class Parts:
    """One method per part; each returns the scalar whose gradient is taken.

    Args:
        ours: A `benchmarks.workloads.Ours`.
    """

    def __init__(self, ours):
        self.agent, self.data = ours.agent, ours.data
        self.model = model = ours.agent.world_model.train()
        self.shape = self.data.actions.shape[:2]
        self.images = model.pixels.encoder_input(self.data.observations.flatten(0, 1))
        with torch.no_grad():
            passed = pass_over(model, self.data, sample=True)
            features = model.trunk(self.images)
            self.state = model.initial_state(self.shape[0])
        self.low = features.low.detach().requires_grad_()
        self.mid = features.mid.detach().requires_grad_()
        self.high = features.high.detach().requires_grad_()
        beliefs = map_tree(lambda x: x.detach(), passed.beliefs)
        fresh = {name: getattr(beliefs, name).requires_grad_() for name in LEARNED}
        self.beliefs = beliefs._replace(**fresh)
        self.tokens = type(passed.tokens)
        self.hidden, self.z = beliefs.state.hidden, beliefs.z

    def timed(self):
        """Workloads by name, in the order of the pillars."""
        named = {
            "trunk": self.trunk,
            "1 perception: tokens, context, their losses": self.perception,
            "2 representation: posterior": self.posterior,
            "2 representation: prior and KL": self.prior,
            "2 representation: decoder and likelihood": self.decoder,
            "3 dynamics: LSTM, predicted context, heads": self.dynamics,
            "3 dynamics: consistency": self.consistency,
            "4 attention: slots": self.slots,
            "4 attention: prediction": self.attention_prior,
            "4 attention: losses, slot decoder": self.attention_losses,
        }
        work = {name: lambda loss=loss: loss().backward() for name, loss in named.items()}
        return work | {"5 optimization: clip, Adam, average": self.optimise}

    def trunk(self):
        """The convolutions that all pillars share."""
        return sum(x.sum() for x in self.model.trunk(self.images))

    def perception(self):
        """Pillar 1."""
        perceiver = self.model.perceiver
        tokens = perceiver.tokenizer.quantize(self.mid)
        summaries = perceiver.summarise(tokens.codes).unflatten(0, self.shape)
        cache = perceiver.initial_cache(self.shape[0])
        context, _ = perceiver.mix(summaries, self.data.is_first, cache)
        return total(perceiver_terms(self.model, self.data, self.tokens(*tokens), context))

    def posterior(self):
        """Pillar 2, inference."""
        encoder, context = self.model.encoder, self.beliefs.context
        pre = encoder.precompute(self.low, context.flatten(0, 1)).unflatten(0, self.shape)
        width = self.model.config.slots_config().token_channels
        glimpse = self.hidden.new_zeros(*self.shape, width)
        steps = zip(pre.unbind(1), self.hidden.unbind(1), glimpse.unbind(1), strict=True)
        return sum(sum(x.sum() for x in encoder.posterior(*step)) for step in steps)

    def prior(self):
        """Pillar 2, the mixture and its losses."""
        mixture = self.model.prior.infer(
            torch.cat([self.hidden, self.beliefs.state.context_hat], -1)
        )
        mean, std = self.beliefs.mean, self.beliefs.std
        kl, _ = latent_kl(mixture, mean, std, self.model.config.free_nats)
        return kl.mean() + self.model.prior.regulariser(mixture).mean()

    def decoder(self):
        """Pillar 2, pixels."""
        features = torch.cat([self.hidden, self.z], -1).flatten(0, 1)
        maps = self.beliefs.log_attention_hat.flatten(0, 1).exp()
        patches = self.model.decoder.patches(features, maps)
        return reconstruction_error(self.model, patches, self.data.observations).mean()

    def dynamics(self):
        """Pillar 3, with the heads."""
        core, (h, cell) = self.model.dynamics, self.model.dynamics.initial(self.shape[0])
        for z, action in zip(self.z.unbind(1), self.data.actions.unbind(1), strict=True):
            h, cell = core.step(h, cell, z, core.predict_context(h, z), action)
        features = torch.cat([self.hidden, self.z], -1)
        return h.sum() + total(control_terms(self.model, self.data, features))

    def consistency(self):
        """Pillar 3, open loop."""
        return consistency_loss(self.model, self.beliefs, self.data)

    def slots(self):
        """Pillar 4, bottom-up."""
        slots, loss = self.state.slots, 0
        tokens = self.model.slots.tokens(self.high)
        frames = [x.unflatten(0, self.shape).unbind(1) for x in tokens]
        firsts = self.data.is_first.unbind(1)
        for *seen, h, first in zip(*frames, self.hidden.unbind(1), firsts, strict=True):
            ahead = self.model.slots.transition(slots, h)
            found = self.model.slots.correct(ahead, SlotTokens(*seen), first)
            slots = found.slots
            loss = loss + found.glimpse.sum() + found.log_attention.mean()
        return loss

    def attention_prior(self):
        """Pillar 4, top-down."""
        seen, memory, loss = self.state.attention, self.state.attention_memory, 0
        for h, z in zip(self.hidden.unbind(1), self.z.unbind(1), strict=True):
            ahead = self.model.attention_prior.predict(seen, memory, h, z)
            seen, memory = ahead.log_probs.exp(), ahead.memory
            loss = loss + ahead.shift.sum() + ahead.log_probs.mean()
        return loss

    def attention_losses(self):
        """Pillar 4, what its terms cost."""
        return total(attention_terms(self.model, self.data, self.beliefs))

    def optimise(self):
        """Pillar 5 without balancing: clipping, Adam, the averaged copy."""
        self.agent.learner.optimizer.step()
        self.agent.learner.ema.update(self.model)


def total(terms):
    """Sum of the means of named terms."""
    return sum(x.mean() for x in terms.values())
