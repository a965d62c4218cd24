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
from aime_agent.attention.slot_filter import SlotFilter
from aime_agent.dynamics.disagreement import Disagreement
from aime_agent.dynamics.heads import ContinuationHead, RewardHead
from aime_agent.dynamics.vrnn_core import VRNNCore
from aime_agent.errors import ConfigError
from aime_agent.layers.conv import ConvTrunk, zero_last
from aime_agent.layers.pixel_likelihood import LogisticLikelihood
from aime_agent.layers.pixel_norm import PixelNorm
from aime_agent.optimization.balancer import RGB_FAMILY, Balancer, make_balancer
from aime_agent.perception.causal_perceiver import CausalPerceiverIO, MixerCache
from aime_agent.representation.dpgmm_prior import DPGMMPrior
from aime_agent.representation.ladder import LatentLadder
from aime_agent.representation.vae_decoder import VAEDecoder
from aime_agent.representation.vae_encoder import VAEEncoder
from aime_agent.shapes import validate_shape
from aime_agent.world_model import (
    adversarial,
    generation,
    imagination,
    inference,
    reading,
    sequence,
)
from aime_agent.world_model.config import WorldModelConfig
from aime_agent.world_model.pretrained import load_pretrained, save_pretrained
from aime_agent.world_model.seeds import seed_config
from aime_agent.world_model.state import (
    Belief,
    WorldState,
    where_first,
)


class AimeWorldModel(nn.Module):
    """Perceiver context, mixture prior, LSTM dynamics, attention schema, one set of verbs.

    Args:
        config: All sizes and settings; see `aime_agent.world_model.presets.preset`.
        **overrides: Fields of the config to replace, or the seeds' keywords.
    """

    perceive = inference.perceive
    correct = inference.correct
    imagine = imagination.imagine
    watch = imagination.watch
    prior_at = generation.prior_at
    draw = generation.draw
    rollout = imagination.rollout
    predict_future = imagination.predict_future
    reward = reading.reward
    continuation = reading.continuation
    decode = reading.decode
    attend = reading.attend
    slot_masks = reading.slot_masks
    retrieve = reading.retrieve
    forward_sequence = sequence.forward_sequence
    compute_total_loss = sequence.compute_total_loss
    fit = sequence.fit
    make_discriminators = adversarial.make_discriminators
    encode = sequence.encode
    extract_context = sequence.extract_context
    sequence = sequence.checked_sequence

    # Pillars that a configuration switches off are not built: no such attribute, no parameter.
    perceiver: CausalPerceiverIO
    slots: SlotFilter
    slot_decoder: SlotDecoder
    attention_prior: AttentionPrior

    def __init__(self, config: WorldModelConfig | None = None, **overrides: Any) -> None:
        super().__init__()
        self.config = c = seed_config(config or WorldModelConfig(), overrides)
        self.pixels = PixelNorm(c.image_channels, c.image_size, c.image_size)
        base = c.base_channels
        self.trunk = ConvTrunk(c.image_channels, (base, 2 * base, 3 * base), c.patch)
        if c.context != "none":
            self.perceiver = CausalPerceiverIO(c.perceiver_config())
        self.encoder = VAEEncoder(c.encoder_config())
        self.prior = DPGMMPrior(c.prior_config())
        self.ladder = self._build_ladder() if c.hierarchy else None
        self.dynamics = VRNNCore(c.dynamics_config())
        if c.use_slots:
            self.slots = SlotFilter(c.slots_config())
        if c.use_attention:
            self.attention_prior = AttentionPrior(c.attention_prior_config())
        if c.use_slots:
            self.slot_decoder = SlotDecoder(c.slot_decoder_config())
        self.decoder = VAEDecoder(c.decoder_config())
        self.likelihood = (
            LogisticLikelihood(c.image_channels, c.patch) if c.likelihood == "logistic" else None
        )
        self.reward_head = RewardHead(c.feature_dim, c.head_units)
        self.continuation_head = ContinuationHead(c.feature_dim, c.head_units // 2)
        # A third of the decoder's time on a CPU, and tokens are then rows without a copy.
        self.trunk.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.decoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        # Frames are centred on their background: start by predicting exactly that.
        zero_last(self.decoder)
        if c.context != "none":
            zero_last(self.perceiver.tokenizer.decoder)
        self.doubt = self._build_doubt()

    def _build_doubt(self) -> Disagreement | None:
        """The heads of `disagreement`; drawn aside, so that other weights do not depend on them."""
        c = self.config
        if not c.disagreement_heads or c.context == "none":
            return None
        with torch.random.fork_rng(devices=[]):
            return Disagreement(c.feature_dim, c.action_dim, c.context_dim, c.disagreement_heads)

    def _build_ladder(self) -> LatentLadder:
        c = self.config
        units = c.encoder_config().units
        return LatentLadder(c.top_dim, c.hierarchy, c.hidden_dim, units, c.min_std)

    # ------------------------------------------------------------------ what observations say

    def images(self, observations: Tensor) -> Float[Tensor, "..."]:
        """Converts uint8 frames to floats in [0, 1], once, on the model's device."""
        mean = self.pixels.mean
        if observations.dtype == torch.uint8:
            return observations.to(mean.device).to(mean.dtype) / 255.0
        return observations.to(mean.device, mean.dtype)

    # ------------------------------------------------------------------ one step

    def initial_state(self, batch_size: int) -> WorldState:
        """Returns the state before the first observation of an episode."""
        hidden, cell = self.dynamics.initial(batch_size)
        c = self.config
        cache = self.initial_cache(batch_size)
        square = hidden.new_empty(batch_size, 0, 0)
        attention, memory = square, square[..., None]
        if c.use_attention:
            attention = self.attention_prior.initial_attention(batch_size)
            memory = self.attention_prior.initial_memory(batch_size)
        return WorldState(
            hidden,
            cell,
            hidden.new_zeros(batch_size, c.recurrent_context_dim),
            attention,
            memory,
            self.slots.initial_slots(batch_size) if c.use_slots else square,
            cache.summaries,
            cache.valid,
            hidden.new_zeros(batch_size, c.action_dim) if c.action_in_prior else None,
        )

    def initial_cache(self, batch_size: int) -> MixerCache:
        """Returns the mixer's ring before the first frame; an empty one without pillar 1."""
        if self.config.context != "none":
            return self.perceiver.initial_cache(batch_size)
        nothing = self.pixels.mean.new_empty(batch_size, 0)
        return MixerCache(nothing[..., None], nothing.bool())

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
        context = self.lstm_context(belief.context, belief.context_hat)
        hidden, cell = self.dynamics.step(state.hidden, state.cell, belief.z, context, action)
        return WorldState(
            hidden,
            cell,
            belief.context_hat,
            state.attention if belief.attention is None else belief.attention,
            state.attention_memory if belief.attention_memory is None else belief.attention_memory,
            state.slots if belief.slots is None else belief.slots,
            belief.ring,
            belief.ring_valid,
            action if self.config.action_in_prior else None,
        )

    def lstm_context(self, seen: Tensor, predicted: Tensor) -> Tensor:
        """Returns the context that the LSTM reads; in a dream both are the predicted one."""
        return seen if self.config.context == "observed" else predicted

    def begin(self, frames: Tensor) -> None:
        """Fits what depends on data: background, pixel precision (or scale), and the codebook.

        Args:
            frames: ``[N, C, H, W]``, a few hundred frames of the task.
        """
        images = self.images(frames)
        self.pixels.fit(images, self.config.frame_energy)
        if self.likelihood is not None:
            self.likelihood.fit(self.pixels.center(images))
        if self.config.context == "none":
            return
        with torch.no_grad():
            features = self.trunk(self.pixels.encoder_input(images[:256]))
            self.perceiver.tokenizer.quantize(features.mid, update_codebook=True)

    def disagreement(
        self, features: Float[Tensor, "*b F"], action: Float[Tensor, "*b A"]
    ) -> Float[Tensor, "*b"]:
        """Returns how little the model knows of what an action leads to.

        Args:
            features: [h, z] of beliefs.
            action: Taken there.

        Raises:
            ConfigError: the model has no heads for it.
        """
        if self.doubt is None:
            raise ConfigError(
                "disagreement: a world model with disagreement_heads and a context required, found "
                f"disagreement_heads={self.config.disagreement_heads}, context={self.config.context!r}"
            )
        return self.doubt(features, action)

    def fitted_parameters(self) -> list[nn.Parameter]:
        """All parameters but those of `disagreement`, which learns for itself."""
        apart = set() if self.doubt is None else set(self.doubt.parameters())
        return [p for p in self.parameters() if p not in apart]

    def attention_parameters(self) -> list[nn.Parameter]:
        """Parameters of pillar 4, whose gradients are clipped on their own."""
        parts = ("slots", "attention_prior", "slot_decoder")
        found = (getattr(self, name) for name in parts if hasattr(self, name))
        return [p for module in found for p in module.parameters()]

    def make_balancer(self) -> Balancer:
        """Returns what joins the tasks' gradients: RGB, the plain sum, or a rival."""
        c = self.config
        name = c.balancer or ("rgb" if c.use_rgb else "sum")
        return make_balancer(name, self.fitted_parameters, **(c.rgb if name in RGB_FAMILY else {}))

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
        """Loads a model that was saved alone or inside a run, in eval mode.

        Args:
            path: A folder that `save_pretrained` wrote, a run folder or a checkpoint, or a Hugging
                Face hub id (needs the extra ``hub``).
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
