"""Layers against a NumPy encoder in float64, and their errors."""

import keras
import numpy as np
import pytest

from keras_transformer.layers import (
    AttentionConfig,
    AttentionMask,
    Dense,
    Dropout,
    EncoderBlock,
    FeedForwardConfig,
    LearnedPositions,
    MultiHeadAttention,
    NormConfig,
    SinCosPositions,
    TransformerEmbedding,
)
from tests.ops.test_ops import REFERENCE_ACTIVATIONS, attention_reference, random


def reference_block(block, x, bias, valid):
    """The block's formula in float64, from its weights."""
    weights = {w.path: np.array(w, "float64") for w in block.weights}

    def dense(y, name):
        return y @ weights[f"{block.name}/{name}/kernel"] + weights[f"{block.name}/{name}/bias"]

    def norm(y, name):
        y = (y - y.mean(-1, keepdims=True)) / np.sqrt(y.var(-1, keepdims=True) + block.norm_config.epsilon)
        return y * weights[f"{block.name}/{name}/gamma"] + weights[f"{block.name}/{name}/beta"]

    def split(y):
        return y.reshape(*y.shape[:2], block.attention.num_heads, -1).transpose(0, 2, 1, 3)

    def attend(y):
        q, k, v = (split(dense(y, f"attention/{name}")) for name in ("query", "key", "value"))
        context = attention_reference(q, k, v, bias, valid)[0].transpose(0, 2, 1, 3).reshape(x.shape)
        return dense(context, "attention/output")

    def feed(y):
        inner = REFERENCE_ACTIVATIONS[block.feed_forward_config.activation](dense(y, "feed_forward/intermediate"))
        return dense(inner, "feed_forward/output")

    if block.residual == "pre_norm":
        x = x + attend(norm(x, "attention_norm"))
        return x + feed(norm(x, "feed_forward_norm"))
    x = norm(x + attend(x), "attention_norm")
    return norm(x + feed(x), "feed_forward_norm")


@pytest.mark.parametrize("residual", ["post_norm", "pre_norm"])
@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_encoder_block_equals_its_formula(residual, activation):
    block = EncoderBlock(
        16,
        AttentionConfig(num_heads=4),
        FeedForwardConfig(32, activation),
        NormConfig(1e-6),
        residual=residual,
        dropout=0.5,
        initializer_range=0.3,
        name="block",
    )
    x = random(2, 5, 16)
    mask = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    bias, valid = AttentionMask()(mask)
    got = block(np.float32(x), attention_bias=bias, row_valid=valid)
    expected = reference_block(block, x, np.array(bias, "float64"), np.array(valid))
    np.testing.assert_allclose(got, expected, atol=2e-5)


def test_dropout_is_active_in_training_only_and_on_every_path():
    block = EncoderBlock(8, AttentionConfig(num_heads=2, dropout=0.9), FeedForwardConfig(16), dropout=0.0)
    x = np.float32(random(1, 4, 8))
    calm = np.array(block(x, training=False))
    np.testing.assert_array_equal(calm, block(x))
    assert not np.allclose(calm, block(x, training=True)), "attention dropout acts in training"
    block = EncoderBlock(8, AttentionConfig(num_heads=2, dropout=0.0), FeedForwardConfig(16), dropout=0.9)
    calm = np.array(block(x))
    assert not np.allclose(calm, block(x, training=True)), "output dropout acts in training"


def test_dropout_gives_fresh_masks_at_every_call():
    layer = Dropout(0.5, seed=1)
    x = np.ones((100,), "float32")
    first, second = (np.array(layer(x, training=True)) for _ in range(2))
    assert not np.array_equal(first, second)


def test_cross_attention_reads_the_other_sequence():
    layer = MultiHeadAttention(hidden_dim=8, num_heads=2, name="cross")
    query, memory = np.float32(random(2, 3, 8)), np.float32(random(2, 5, 8, seed=1))
    y, weights = layer(query, memory, return_weights=True)
    assert y.shape == (2, 3, 8)
    assert weights.shape == (2, 2, 3, 5)
    np.testing.assert_allclose(np.sum(weights, -1), 1, atol=1e-5)
    moved = np.array(layer(query, memory[:, ::-1]))
    np.testing.assert_allclose(moved, y, atol=1e-5, err_msg="attention does not know the order of its keys")


def test_attention_returns_the_same_output_with_and_without_weights():
    layer = MultiHeadAttention(hidden_dim=8, num_heads=2)
    x = np.float32(random(2, 4, 8))
    bias, valid = AttentionMask()(np.array([[1, 1, 0, 0], [0, 0, 0, 0]]))
    plain = layer(x, attention_bias=bias, row_valid=valid)
    with_weights, _ = layer(x, attention_bias=bias, row_valid=valid, return_weights=True)
    np.testing.assert_allclose(plain, with_weights, atol=1e-6)


def test_positions_are_exact_under_bfloat16_beyond_256():
    layer = SinCosPositions(600, 64, dtype="mixed_bfloat16")
    rows = np.array(keras.ops.cast(layer(np.zeros((1, 600), "int32"))[0], "float32"))
    angles = 511 / 10000 ** (np.arange(0, 64, 2) / 64)
    np.testing.assert_allclose(rows[511, 0::2], np.sin(angles), atol=0.005)
    assert not np.array_equal(rows[511], rows[512])


@pytest.mark.parametrize("scheme", [LearnedPositions, SinCosPositions])
def test_position_ids_pick_rows(scheme):
    layer = scheme(16, 8)
    ids = np.array([[0, 1, 2, 3]])
    np.testing.assert_array_equal(layer(ids), layer(ids, np.array([[0, 1, 2, 3]])))
    shifted = np.array(layer(ids, np.array([[5, 6, 0, 1]])))
    full = np.array(layer(np.zeros((1, 16), "int32")))
    np.testing.assert_array_equal(shifted[0], full[0, [5, 6, 0, 1]])


def test_embedding_sums_its_three_tables():
    layer = TransformerEmbedding(10, 4, num_segments=2)
    positions = np.float32(random(1, 3, 4))
    ids, segments = np.array([[1, 5, 9]]), np.array([[0, 1, 1]])
    got = layer(ids, segments, positions)
    tokens, kinds = np.array(layer.tokens.table), np.array(layer.segment_table)
    np.testing.assert_allclose(got, tokens[ids] + kinds[segments] + positions, atol=1e-6)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: MultiHeadAttention(65, 8), "num_heads must divide hidden_dim.*num_heads=8"),
        (lambda: Dense(0), "units must be an integer above 0. Received: 0"),
        (lambda: Dense(4, activation="gleu"), "activation must be one of.*Received: 'gleu'"),
        (lambda: Dropout(1.0), "rate must be at least 0 and below 1. Received: 1.0"),
        (lambda: FeedForwardConfig(16, "swish"), "activation must be one of"),
        (lambda: NormConfig(0.0), "epsilon must be above 0"),
        (lambda: AttentionConfig.from_dict({"num_head": 2}), "no field 'num_head'. Did you mean 'num_heads'"),
        (lambda: AttentionMask(fill_value=1.0), "fill_value must be negative"),
        (lambda: AttentionMask()(np.ones((1, 2, 3))), r"padding_mask must have shape \(batch, length\)"),
        (lambda: LearnedPositions(4, 8)(np.zeros((1, 5), "int32")), "has 4 positions.*Received: length=5"),
        (lambda: TransformerEmbedding(5, 4)(np.zeros((1, 2), "int32")), "pass segment_ids"),
        (
            lambda: EncoderBlock(8, {"num_heads": 2}, {"intermediate_dim": 4})(np.zeros((1, 2, 4), "float32")),
            r"x must have shape \(batch, length, 8\)",
        ),
        (lambda: MultiHeadAttention(8, 2)(np.zeros((2, 8), "float32")), "query must have shape"),
    ],
)
def test_bad_arguments_get_one_clear_message(build, message):
    with pytest.raises(ValueError, match=message):
        build()
