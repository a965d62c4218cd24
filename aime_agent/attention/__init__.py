"""PILLAR 4: where the model looks, and where it expects to look.

- `slot_attention`: competing slots; `slot_filter`: slots over time, for the world model's loop.
- `slot_parts`: fine slots inside coarse ones.
- `slot_decoder`: slots back to pixels, which is what ties them to objects.
- `attention_posterior`, `fusion`: bottom-up map of a frame; `attention_prior`,
  `grid_attention`: top-down map of the next one; `attention_schema`: both (seed 000).
- `visualize`: slots drawn over frames.

The pure mathematics is in `aime_agent.functional.spatial` and `.regularizers`.
"""

from aime_agent.attention.attention_posterior import (
    AttentionPosterior,
    AttentionPosteriorConfig,
    PosteriorOutput,
)
from aime_agent.attention.attention_prior import AttentionPrior, AttentionPriorConfig, PriorOutput
from aime_agent.attention.attention_schema import AttentionSchema, AttentionSchemaConfig
from aime_agent.attention.slot_attention import SlotAttention, SlotAttentionConfig, SlotOutput
from aime_agent.attention.slot_decoder import SlotDecoder, SlotDecoderConfig, SlotReconstruction
from aime_agent.attention.slot_filter import (
    SlotFilter,
    SlotFilterConfig,
    SlotRead,
    SlotResult,
    SlotTokens,
)
from aime_agent.attention.slot_parts import Parts, SlotParts, SlotPartsConfig
from aime_agent.layers.conv_gru import ConvGRUCell

__all__ = [
    "AttentionPosterior",
    "AttentionPosteriorConfig",
    "AttentionPrior",
    "AttentionPriorConfig",
    "AttentionSchema",
    "AttentionSchemaConfig",
    "ConvGRUCell",
    "Parts",
    "PosteriorOutput",
    "PriorOutput",
    "SlotAttention",
    "SlotAttentionConfig",
    "SlotDecoder",
    "SlotDecoderConfig",
    "SlotFilter",
    "SlotFilterConfig",
    "SlotOutput",
    "SlotParts",
    "SlotPartsConfig",
    "SlotRead",
    "SlotReconstruction",
    "SlotResult",
    "SlotTokens",
]
