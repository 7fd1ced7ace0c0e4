"""Keras models: an encoder, and one small class of heads for each kind of label."""

from keras_transformer.models.config import EncoderConfig
from keras_transformer.models.encoder import TransformerEncoder
from keras_transformer.models.tasks import KINDS, TextClassifier, probabilities

__all__ = ["KINDS", "EncoderConfig", "TextClassifier", "TransformerEncoder", "probabilities"]
