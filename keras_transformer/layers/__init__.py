"""Keras layers over `keras_transformer.ops`: the parts from which models are built."""

from keras_transformer.layers.attention import MultiHeadAttention
from keras_transformer.layers.decoder import DecoderBlock
from keras_transformer.layers.dense import Dense
from keras_transformer.layers.dropout import Dropout, StochasticDepth
from keras_transformer.layers.embeddings import TokenEmbedding, TransformerEmbedding
from keras_transformer.layers.encoder import EncoderBlock
from keras_transformer.layers.feed_forward import FeedForward
from keras_transformer.layers.masking import AttentionMask
from keras_transformer.layers.normalization import LayerNorm, RMSNorm, create_norm
from keras_transformer.layers.parts import AttentionConfig, FeedForwardConfig, NormConfig
from keras_transformer.layers.pooling import AttentionPooling, FirstTokenPooling, MaxPooling, MeanPooling
from keras_transformer.layers.positions import LearnedPositions, RotaryPositions, SinCosPositions
from keras_transformer.layers.relative import ALiBi, RelativeBias, RelativeKeys

__all__ = [
    "ALiBi",
    "AttentionConfig",
    "AttentionMask",
    "AttentionPooling",
    "DecoderBlock",
    "Dense",
    "Dropout",
    "EncoderBlock",
    "FeedForward",
    "FeedForwardConfig",
    "FirstTokenPooling",
    "LayerNorm",
    "LearnedPositions",
    "MaxPooling",
    "MeanPooling",
    "MultiHeadAttention",
    "NormConfig",
    "RMSNorm",
    "RelativeBias",
    "RelativeKeys",
    "RotaryPositions",
    "SinCosPositions",
    "StochasticDepth",
    "TokenEmbedding",
    "TransformerEmbedding",
    "create_norm",
]
