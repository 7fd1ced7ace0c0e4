"""Keras layers over `keras_transformer.ops`: the parts from which models are built."""

from keras_transformer.layers.attention import MultiHeadAttention
from keras_transformer.layers.dense import Dense
from keras_transformer.layers.dropout import Dropout
from keras_transformer.layers.embeddings import LearnedPositions, SinCosPositions, TransformerEmbedding
from keras_transformer.layers.encoder import EncoderBlock
from keras_transformer.layers.feed_forward import FeedForward
from keras_transformer.layers.normalization import LayerNorm
from keras_transformer.layers.padding import PaddingBias
from keras_transformer.layers.parts import AttentionConfig, FeedForwardConfig, NormConfig
from keras_transformer.layers.pooling import FirstTokenPooling, MeanPooling

__all__ = [
    "AttentionConfig",
    "Dense",
    "Dropout",
    "EncoderBlock",
    "FeedForward",
    "FeedForwardConfig",
    "FirstTokenPooling",
    "LayerNorm",
    "LearnedPositions",
    "MeanPooling",
    "MultiHeadAttention",
    "NormConfig",
    "PaddingBias",
    "SinCosPositions",
    "TransformerEmbedding",
]
