"""PILLAR 1: video tokens, and one causal context vector per frame.

Reading order: `vector_quantizer` and `finite_scalar_quantizer` (vectors to codes), `tokenizer` (video
to tokens and back; `patch_decoder` is its cheap decoder), `frame_encoder` (one frame's codes to a
summary), `mixer` (summaries to a context over a window), `token_predictor` (the next frame's tokens),
`causal_perceiver` (all of them joined).
"""

from aime_agent.perception.causal_perceiver import CausalPerceiverIO, CausalPerceiverIOConfig
from aime_agent.perception.finite_scalar_quantizer import (
    FiniteScalarQuantizer,
    FiniteScalarQuantizerConfig,
)
from aime_agent.perception.mixer import MixerCache
from aime_agent.perception.token_predictor import (
    PerceiverTokenPredictor,
    PerceiverTokenPredictorConfig,
)
from aime_agent.perception.tokenizer import VQPTTokenizer, VQPTTokenizerConfig
from aime_agent.perception.vector_quantizer import VectorQuantizer, VectorQuantizerConfig

__all__ = [
    "CausalPerceiverIO",
    "CausalPerceiverIOConfig",
    "FiniteScalarQuantizer",
    "FiniteScalarQuantizerConfig",
    "MixerCache",
    "PerceiverTokenPredictor",
    "PerceiverTokenPredictorConfig",
    "VQPTTokenizer",
    "VQPTTokenizerConfig",
    "VectorQuantizer",
    "VectorQuantizerConfig",
]
