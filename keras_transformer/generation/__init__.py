"""From prompts to new tokens: samplers, beam search, streaming, and a function that can be saved."""

from keras_transformer.generation.config import GenerationConfig
from keras_transformer.generation.exporting import export_function
from keras_transformer.generation.generating import GeneratedTokens, generate, stream
from keras_transformer.generation.processors import (
    ForcedToken,
    MinNewTokens,
    MinP,
    RepetitionPenalty,
    Temperature,
    TokensSoFar,
    TopK,
    TopP,
)
from keras_transformer.generation.samplers import BeamSearch, Greedy, Sample
from keras_transformer.generation.serialization import config_from_dict, config_to_dict

__all__ = [
    "BeamSearch",
    "ForcedToken",
    "GeneratedTokens",
    "GenerationConfig",
    "Greedy",
    "MinNewTokens",
    "MinP",
    "RepetitionPenalty",
    "Sample",
    "Temperature",
    "TokensSoFar",
    "TopK",
    "TopP",
    "config_from_dict",
    "config_to_dict",
    "export_function",
    "generate",
    "stream",
]
