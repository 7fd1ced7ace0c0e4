"""Keras models: encoder, decoder and both, heads for each kind of label, and models for each way of pretraining."""

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
from keras_transformer.models.multi_task import MultiTaskClassifier
from keras_transformer.models.presets import PRESETS, count_parameters, create, preset
from keras_transformer.models.pretraining import MaskedLanguageModel
from keras_transformer.models.pretraining_contrastive import ContrastiveModel
from keras_transformer.models.pretraining_pairs import SentencePairModel
from keras_transformer.models.pretraining_replaced import ReplacedTokenModel
from keras_transformer.models.pretraining_tokens import NextTokenModel, SequenceToSequenceModel
from keras_transformer.models.resizing import resized
from keras_transformer.models.tasks import KINDS, HeadConfig, TextClassifier, probabilities

__all__ = [
    "KINDS",
    "PRESETS",
    "ContrastiveModel",
    "DecoderConfig",
    "EncoderConfig",
    "EncoderDecoderConfig",
    "HeadConfig",
    "MaskedLanguageModel",
    "MultiTaskClassifier",
    "NextTokenModel",
    "PositionConfig",
    "ReplacedTokenModel",
    "SentencePairModel",
    "SequenceToSequenceModel",
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
    "resized",
    "without_adapters",
]
