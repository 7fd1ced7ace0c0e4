"""Keras models: encoder, decoder and both, and one small class of heads for each kind of label."""

from keras_transformer.models.adapting import enable_lora, freeze, without_adapters
from keras_transformer.models.config import (
    DecoderConfig,
    EncoderConfig,
    EncoderDecoderConfig,
    PositionConfig,
    TransformerConfig,
)
from keras_transformer.models.decoder import TransformerDecoder
from keras_transformer.models.encoder import TransformerEncoder
from keras_transformer.models.encoder_decoder import TransformerEncoderDecoder
from keras_transformer.models.presets import PRESETS, count_parameters, create, preset
from keras_transformer.models.tasks import KINDS, TextClassifier, probabilities

__all__ = [
    "KINDS",
    "PRESETS",
    "DecoderConfig",
    "EncoderConfig",
    "EncoderDecoderConfig",
    "PositionConfig",
    "TextClassifier",
    "TransformerConfig",
    "TransformerDecoder",
    "TransformerEncoder",
    "TransformerEncoderDecoder",
    "count_parameters",
    "create",
    "enable_lora",
    "freeze",
    "preset",
    "probabilities",
    "without_adapters",
]
