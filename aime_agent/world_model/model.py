"""The five pillars joined (binding time convention).

    h_0 learned
    inference    context_t from o_{<=t};  slots_t, A_t from (o_t, h_t, slots^_t);  glimpse_t
    posterior    q(z_t | o_t, context_t, h_t, glimpse_t)
    predicted    context^_t = g(h_t, z_t);  A^_t = f(A_{t-1}, h_t, z_t);  slots^_t = f(slots_{t-1}, h_t)
    prior        p(z_t | h_t, context^_{t-1})
    decode       p(o_t | z_t, h_t, A^_t),  p(r_t | h_t, z_t),  p(continue_t | h_t, z_t)
    h_{t+1}    = LSTM([z_t, context^_t, a_t], h_t)

The generative path (prior, LSTM, decoder, heads) reads only what exists in a dream; observations
enter through inference alone. `AimeWorldModel.correct` is the one place where all pillars meet;
`infer` and `forward_sequence` both run it.
"""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from aime_agent.attention.attention_prior import AttentionPrior
from aime_agent.attention.slot_decoder import SlotDecoder
from aime_agent.attention.slot_filter import SlotFilter, SlotTokens
from aime_agent.dynamics.heads import ContinuationHead, RewardHead
from aime_agent.dynamics.vrnn_core import VRNNCore
from aime_agent.layers.conv import ConvTrunk, zero_last
from aime_agent.layers.pixel_norm import PixelNorm
from aime_agent.optimization.balancer import RGB_FAMILY, Balancer, make_balancer
from aime_agent.perception.causal_perceiver import CausalPerceiverIO, MixerCache
from aime_agent.representation.dpgmm_prior import DPGMMPrior
from aime_agent.representation.vae_decoder import VAEDecoder
from aime_agent.representation.vae_encoder import VAEEncoder
from aime_agent.shapes import validate_shape
from aime_agent.world_model import imagination, reading, sequence
from aime_agent.world_model.config import WorldModelConfig
from aime_agent.world_model.pretrained import load_pretrained, save_pretrained
from aime_agent.world_model.seeds import seed_config
from aime_agent.world_model.state import Belief, Evidence, TokenEvidence, WorldState, where_first


class AimeWorldModel(nn.Module):
    """Perceiver context, mixture prior, LSTM dynamics, attention schema, one set of verbs.

    Args:
        config: All sizes and settings; see `aime_agent.world_model.presets.preset`.
        **overrides: Fields of the config to replace, or the seeds' keywords.
    """

    imagine = imagination.imagine
    watch = imagination.watch
    rollout = imagination.rollout
    predict_future = imagination.predict_future
    reward = reading.reward
    continuation = reading.continuation
    decode = reading.decode
    attend = reading.attend
    slot_masks = reading.slot_masks
    forward_sequence = sequence.forward_sequence
    compute_total_loss = sequence.compute_total_loss
    fit = sequence.fit
    encode = sequence.encode
    extract_context = sequence.extract_context
    sequence = sequence.checked_sequence

    def __init__(self, config: WorldModelConfig | None = None, **overrides: Any) -> None:
        super().__init__()
        self.config = c = seed_config(config or WorldModelConfig(), overrides)
        self.pixels = PixelNorm(c.image_channels, c.image_size, c.image_size)
        base = c.base_channels
        self.trunk = ConvTrunk(c.image_channels, (base, 2 * base, 3 * base), c.patch)
        self.perceiver = CausalPerceiverIO(c.perceiver_config())
        self.encoder = VAEEncoder(c.encoder_config())
        self.prior = DPGMMPrior(c.prior_config())
        self.dynamics = VRNNCore(c.dynamics_config())
        self.slots = SlotFilter(c.slots_config())
        self.attention_prior = AttentionPrior(c.attention_prior_config())
        self.slot_decoder = SlotDecoder(c.slot_decoder_config())
        self.decoder = VAEDecoder(c.decoder_config())
        self.reward_head = RewardHead(c.feature_dim, c.head_units)
        self.continuation_head = ContinuationHead(c.feature_dim, c.head_units // 2)
        # A third of the decoder's time on a CPU, and tokens are then rows without a copy.
        self.trunk.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.decoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        # Frames are centred on their background: start by predicting exactly that.
        for decoder in (self.decoder, self.perceiver.tokenizer.decoder):
            zero_last(decoder)

    # ------------------------------------------------------------------ what observations say

    def images(self, observations: Tensor) -> Float[Tensor, "..."]:
        """Converts uint8 frames to floats in [0, 1], once, on the model's device."""
        mean = self.pixels.mean
        if observations.dtype == torch.uint8:
            return observations.to(mean.device).to(mean.dtype) / 255.0
        return observations.to(mean.device, mean.dtype)

    def perceive(
        self,
        frames: Float[Tensor, "B T C H W"],
        is_first: Bool[Tensor, "B T"],
        cache: MixerCache,
        update_codebook: bool = False,
    ) -> tuple[Evidence, TokenEvidence, MixerCache]:
        """Runs everything that needs no recurrence, once over all frames.

        Args:
            frames: Frames in [0, 1].
            is_first: Where an episode begins.
            cache: Ring of the mixer from earlier frames.
            update_codebook: Whether the tokenizer's codebook learns from these frames.
        """
        batch, length = frames.shape[:2]
        features = self.trunk(self.pixels.encoder_input(frames.flatten(0, 1)))
        tokens = self.perceiver.tokenizer.quantize(features.mid, update_codebook=update_codebook)
        summaries = self.perceiver.summarise(tokens.codes).unflatten(0, (batch, length))
        context, cache = self.perceiver.mix(summaries, is_first, cache)
        slot_tokens = self.slots.tokens(features.high)
        evidence = Evidence(
            self.encoder.precompute(features.low, context.flatten(0, 1)),
            slot_tokens.k,
            slot_tokens.v,
            slot_tokens.glimpse_values,
            context.flatten(0, 1),
        )
        shaped = Evidence(*(x.unflatten(0, (batch, length)) for x in evidence))
        return shaped, TokenEvidence(*tokens), cache

    def correct(
        self,
        state: WorldState,
        evidence: Evidence,
        is_first: Bool[Tensor, " B"],
        normal: Float[Tensor, "B z"] | None,
        attend: bool = True,
    ) -> Belief:
        """All pillars at one frame: slots, posterior, predicted context, attention.

        Args:
            state: State at t, reset where an episode begins.
            evidence: What o_t says by itself.
            is_first: Where an episode begins.
            normal: Noise of the posterior; None takes its mean.
            attend: Whether to predict and fuse attention maps, which nothing else here reads.
        """
        slots_hat = self.slots.transition(state.slots, state.hidden)
        tokens = SlotTokens(evidence.keys, evidence.values, evidence.glimpse_values)
        seen = self.slots.correct(slots_hat, tokens, is_first)
        log_evidence = seen.log_attention
        posterior = self.encoder.posterior(evidence.posterior_input, state.hidden, seen.glimpse)
        z = posterior.mean if normal is None else posterior.mean + posterior.std * normal
        context_hat = self.dynamics.predict_context(state.hidden, z)
        belief = Belief(
            state=state,
            z=z,
            mean=posterior.mean,
            std=posterior.std,
            log_pi=None,
            context=evidence.context,
            context_hat=context_hat,
            log_attention_hat=None,
            log_evidence=log_evidence,
            attention=None,
            attention_memory=None,
            shift=None,
            slots_hat=slots_hat,
            slots=seen.slots,
            responsibilities=seen.responsibilities,
            ring=state.ring,
            ring_valid=state.ring_valid,
        )
        if not attend:
            return belief
        ahead = self.attention_prior.predict(
            state.attention, state.attention_memory, state.hidden, z
        )
        return belief._replace(
            log_attention_hat=ahead.log_probs,
            attention=self.slots.fuse(log_evidence, ahead.log_probs, state.hidden),
            attention_memory=ahead.memory,
            shift=ahead.shift,
        )

    # ------------------------------------------------------------------ one step

    def initial_state(self, batch_size: int) -> WorldState:
        """Returns the state before the first observation of an episode."""
        hidden, cell = self.dynamics.initial(batch_size)
        c = self.config
        cache = self.perceiver.initial_cache(batch_size)
        return WorldState(
            hidden,
            cell,
            hidden.new_zeros(batch_size, c.context_dim),
            self.attention_prior.initial_attention(batch_size),
            self.attention_prior.initial_memory(batch_size),
            self.slots.initial_slots(batch_size),
            cache.summaries,
            cache.valid,
        )

    def infer(
        self,
        state: WorldState,
        observation: Tensor,
        is_first: Bool[Tensor, " B"] | None = None,
        sample: bool | None = None,
        noise: Float[Tensor, "B z"] | None = None,
        attend: bool = True,
    ) -> Belief:
        """Returns the posterior belief at t from o_t.

        Args:
            state: State before o_t.
            observation: ``[B, C, H, W]``, uint8 or float in [0, 1].
            is_first: Where an episode begins: there the state is replaced by the initial one.
            sample: Draw z (default in training) or take its mean (default in eval).
            noise: Standard normal noise to draw with; implies ``sample``.
            attend: Whether attention maps are made too; False for who only acts.
        """
        batch = observation.shape[0]
        self.check_frames(observation, "observation", 4)
        if is_first is None:
            is_first = torch.zeros(batch, dtype=torch.bool, device=state.hidden.device)
        cache = MixerCache(state.ring, state.ring_valid)
        frames = self.images(observation)[:, None]
        evidence, _, cache = self.perceive(frames, is_first[:, None], cache)
        state = where_first(is_first, self.initial_state(batch), state)
        if noise is None and (self.training if sample is None else sample):
            noise = torch.randn(batch, self.config.latent_dim).to(state.hidden)
        belief = self.correct(state, evidence.frames()[0], is_first, noise, attend)
        return belief._replace(ring=cache.summaries, ring_valid=cache.valid)

    def advance(self, belief: Belief, action: Float[Tensor, "B A"]) -> WorldState:
        """Returns the state at t+1 after taking ``action`` at t."""
        state = belief.state
        hidden, cell = self.dynamics.step(
            state.hidden, state.cell, belief.z, belief.context_hat, action
        )
        return WorldState(
            hidden,
            cell,
            belief.context_hat,
            state.attention if belief.attention is None else belief.attention,
            state.attention_memory if belief.attention_memory is None else belief.attention_memory,
            state.slots if belief.slots is None else belief.slots,
            belief.ring,
            belief.ring_valid,
        )

    def begin(self, frames: Tensor) -> None:
        """Fits what depends on data: background, pixel precision, and the codebook.

        Args:
            frames: ``[N, C, H, W]``, a few hundred frames of the task.
        """
        self.pixels.fit(self.images(frames), self.config.frame_energy)
        with torch.no_grad():
            features = self.trunk(self.pixels.encoder_input(self.images(frames[:256])))
            self.perceiver.tokenizer.quantize(features.mid, update_codebook=True)

    def attention_parameters(self) -> list[nn.Parameter]:
        """Parameters of pillar 4, whose gradients are clipped on their own."""
        parts = (self.slots, self.attention_prior, self.slot_decoder)
        return [p for module in parts for p in module.parameters()]

    def make_balancer(self) -> Balancer:
        """Returns what joins the tasks' gradients: RGB, the plain sum, or a rival."""
        c = self.config
        name = c.balancer or ("rgb" if c.use_rgb else "sum")
        return make_balancer(name, self.parameters, **(c.rgb if name in RGB_FAMILY else {}))

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes ``config.json`` and ``model.safetensors``."""
        save_pretrained(self, Path(folder))

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        revision: str | None = None,
        device: str = "cpu",
        local_files_only: bool = False,
    ) -> "AimeWorldModel":
        """Loads a model that `save_pretrained` wrote, in eval mode.

        Args:
            path: A folder, or a Hugging Face hub id (needs the extra ``hub``).
            revision: Of the hub id.
            device: Where to put it.
            local_files_only: Take the hub's local cache only.
        """
        return load_pretrained(cls, path, revision, device, local_files_only)

    def check_frames(self, frames: Tensor, name: str, dimensions: int) -> None:
        """Raises `ShapeError` unless frames have the model's channels and size."""
        c = self.config
        size = (c.image_channels, c.image_size, c.image_size)
        validate_shape(frames, (*[-1] * (dimensions - 3), *size), name, "Channels come first")


DPGMMVariationalRecurrentAutoencoder = AimeWorldModel
"""The seed documents' name."""
