"""Several texts in a row, and a last block for the first tokens only: the same logits and gradients as without."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_transformer import layers, ops
from keras_transformer.layers import AttentionConfig, FeedForwardConfig
from keras_transformer.models import EncoderConfig, PositionConfig, TextClassifier, TransformerEncoder
from tests.test_imports import run_python

SCHEMES = ("learned", "sincos", "rotary", "relative_bias", "alibi", "relative_keys", "none")
RESIDUALS = ("post_norm", "pre_norm", "parallel")
CONFIG = EncoderConfig(
    vocabulary_size=60,
    hidden_dim=32,
    num_layers=2,
    max_length=16,
    dropout=0.0,
    attention=AttentionConfig(num_heads=4, dropout=0.0),
    feed_forward=FeedForwardConfig(64),
    initializer_range=0.2,
)
LENGTH = 14
TEXTS = [[2, 7, 9, 3], [2, 11, 3], [2, 8, 5, 30, 41, 3], [2, 33, 34, 35, 36, 37, 38, 39, 40, 3]]
ROWS = [[0, 1, 2], [3]]  # which texts stand in which row; the second row has one text and padding
PLACES = [(row, place) for row, texts in enumerate(ROWS) for place in range(len(texts))]


def alone(texts=TEXTS, length=LENGTH):
    """One text a row."""
    ids = np.array([text + [0] * (length - len(text)) for text in texts], "int32")
    return {"token_ids": ids, "segment_ids": np.zeros_like(ids), "padding_mask": (ids > 0).astype("int32")}


def packed(texts=TEXTS, rows=ROWS, length=LENGTH):
    """Several texts a row, by a loop."""
    names = ("token_ids", "segment_ids", "padding_mask", "position_ids", "example_ids")
    inputs = {name: np.zeros((len(rows), length), "int32") for name in names}
    for row, numbers in enumerate(rows):
        start = 0
        for place, number in enumerate(numbers):
            here = slice(start, start + len(texts[number]))
            inputs["token_ids"][row, here] = texts[number]
            inputs["padding_mask"][row, here] = 1
            inputs["position_ids"][row, here] = np.arange(len(texts[number]))
            inputs["example_ids"][row, here] = place + 1
            start = here.stop
    return inputs


def make(pooling="mean", trim=True, encoder=None, **config):
    encoder = encoder or TransformerEncoder(dataclasses.replace(CONFIG, **config))
    return TextClassifier(encoder, 3, pooling=pooling, dropout=0.0, trim_last_block=trim)


def of_texts(logits):
    """Logits of packed rows, in the order of the texts."""
    return np.stack([np.array(logits)[row, place] for row, place in PLACES])


def gradients(model, logits_of):
    """Gradients of the same scalar of the logits of all texts, and those logits."""
    selectors = np.random.default_rng(0).normal(size=(len(TEXTS), 3)).astype("float32")
    with tf.GradientTape() as tape:
        logits = logits_of()
        objective = tf.reduce_sum(logits * selectors)
    found = tape.gradient(objective, [weight.value for weight in model.trainable_variables])
    dense = {}
    for weight, gradient in zip(model.trainable_variables, found, strict=True):
        dense[weight.path] = np.zeros(weight.shape) if gradient is None else np.array(tf.convert_to_tensor(gradient))
    return np.array(logits), dense


def assert_same(first, second, logits_atol=1e-5):
    """Logits, and every gradient within 1e-5 of the largest value of any."""
    np.testing.assert_allclose(second[0], first[0], atol=logits_atol)
    largest = max(np.abs(gradient).max() for gradient in first[1].values())
    for path, gradient in first[1].items():
        np.testing.assert_allclose(second[1][path], gradient, atol=1e-5 * largest, rtol=1e-5, err_msg=path)


@pytest.mark.parametrize("position", SCHEMES)
@pytest.mark.parametrize(
    ("pooling", "trim", "pooler"),
    [("mean", True, False), ("first", False, False), ("first", True, True)],
    ids=["mean", "first", "first-pooler-trimmed"],
)
def test_packed_texts_have_the_logits_and_gradients_of_texts_alone(position, pooling, trim, pooler):
    model = make(pooling, trim, position=PositionConfig(position), pooler=pooler)
    unpacked = gradients(model, lambda: model(alone(), training=True)["logits"])
    inputs = packed()

    def logits():
        return tf.gather_nd(model.packed(inputs, num_texts=4, training=True)["logits"], PLACES)

    assert_same(unpacked, gradients(model, logits))
    assert len(np.unique(unpacked[0].round(4), axis=0)) == len(TEXTS), "texts that differ, or nothing is proved"


@pytest.mark.parametrize(
    ("pooling", "config"),
    [
        ("first", {"window": 2}),
        ("mean", {"window": 2, "residual": "parallel"}),
        ("first", {"share_blocks": True, "embedding_dim": 8, "residual": "pre_norm"}),
        ("first", {"recompute": True, "num_segments": 0, "residual": "pre_norm"}),
        ("first", {"num_layers": 1, "position": PositionConfig("relative_bias"), "residual": "parallel"}),
    ],
    ids=["window", "window-parallel", "shared", "recomputed", "one-layer"],
)
def test_packing_holds_for_other_encoders(pooling, config):
    model = make(pooling, **config)
    unpacked = gradients(model, lambda: model(alone(), training=True)["logits"])
    inputs = packed()
    assert_same(
        unpacked,
        gradients(model, lambda: tf.gather_nd(model.packed(inputs, 3, training=True)["logits"], PLACES)),
    )


@pytest.mark.parametrize(
    ("position", "residual", "pooler"),
    [
        *((scheme, "post_norm", True) for scheme in SCHEMES),
        *(("relative_bias", residual, False) for residual in RESIDUALS),
        ("rotary", "pre_norm", False),
        ("relative_keys", "parallel", True),
    ],
)
def test_a_last_block_for_the_first_token_changes_nothing(position, residual, pooler):
    trimmed = make("first", position=PositionConfig(position), residual=residual, pooler=pooler)
    whole = make("first", trim=False, encoder=trimmed.encoder)
    whole.head.set_weights(trimmed.head.get_weights())
    inputs = alone()
    inputs["padding_mask"][3] = 0  # a row of padding only
    found = gradients(trimmed, lambda: trimmed(inputs, training=True)["logits"])
    expected = gradients(whole, lambda: whole(inputs, training=True)["logits"])
    assert_same(expected, found, logits_atol=1e-6)
    assert found[1].keys() == expected[1].keys()


def test_the_last_block_is_computed_for_the_first_tokens_only():
    """Counted in the graph: no other product of the last feed-forward is left, alone or packed."""

    def rows_of_feed_forward(model, call, inputs):
        specs = {name: tf.TensorSpec(ids.shape, "int32") for name, ids in inputs.items()}
        graph = tf.function(call).get_concrete_function(specs).graph
        return sorted(op.outputs[0].shape[0] for op in graph.get_operations() if op.type == "MatMul" and wide(op))

    def wide(op):
        return op.outputs[0].shape[-1] == CONFIG.feed_forward.intermediate_dim

    tokens, texts = 4 * LENGTH, 4
    for pooling, trim, last in (("first", True, texts), ("first", False, tokens), ("mean", True, tokens)):
        model = make(pooling, trim)
        assert rows_of_feed_forward(model, model, alone()) == sorted([last, tokens])
    model = make("first")
    assert rows_of_feed_forward(model, lambda x: model.packed(x, 3), packed()) == sorted([2 * 3, 2 * LENGTH])


@pytest.mark.parametrize("position", SCHEMES)
@pytest.mark.parametrize("pooling", ["mean", "first"])
def test_texts_of_a_row_do_not_see_each_other(position, pooling):
    model = make(pooling, position=PositionConfig(position))
    before = of_texts(model.packed(packed(), 3)["logits"])
    other = [*TEXTS]
    other[1] = [50, 51, 52]
    after = of_texts(model.packed(packed(other), 3)["logits"])
    np.testing.assert_array_equal(after[[0, 2, 3]], before[[0, 2, 3]])
    assert np.abs(after[1] - before[1]).max() > 1e-3


def test_the_order_of_logits_is_that_of_the_example_ids():
    model = make()
    first, last = ([[0, 1, 2], [3]], [[2, 0, 1], [3]])
    one = np.array(model.packed(packed(rows=first), 3)["logits"])
    two = np.array(model.packed(packed(rows=last), 3)["logits"])
    np.testing.assert_allclose(two[0], one[0][[2, 0, 1]], atol=1e-6)


def test_texts_that_a_row_lacks_are_finite_and_have_no_gradient():
    model = make("first")
    _, two = gradients(model, lambda: tf.gather_nd(model.packed(packed(), 3)["logits"], PLACES))
    logits = np.array(model.packed(packed(), 9)["logits"])
    assert logits.shape == (2, 9, 3)
    assert np.isfinite(logits).all()
    _, nine = gradients(model, lambda: tf.gather_nd(model.packed(packed(), 9)["logits"], PLACES))
    for path in two:
        np.testing.assert_allclose(nine[path], two[path], atol=1e-5, err_msg=path)


def test_without_restarted_positions_the_answer_is_another():
    """The comparison above can fail: it sees positions and masks."""
    model = make(position=PositionConfig("learned"))
    right = of_texts(model.packed(packed(), 3)["logits"])
    inputs = packed()
    inputs["position_ids"] = np.broadcast_to(np.arange(LENGTH, dtype="int32"), (2, LENGTH))
    assert np.abs(of_texts(model.packed(inputs, 3)["logits"]) - right)[1:3].max() > 1e-3


def test_distances_need_no_restart():
    """Schemes of distances are right by the mask alone: an offset of the whole text changes nothing."""
    inputs = packed()
    shifted = inputs | {"position_ids": np.broadcast_to(np.arange(LENGTH, dtype="int32"), (2, LENGTH))}
    for scheme in ("rotary", "relative_bias", "alibi", "relative_keys"):
        model = make(position=PositionConfig(scheme))
        expected = of_texts(model.packed(inputs, 3)["logits"])
        np.testing.assert_allclose(of_texts(model.packed(shifted, 3)["logits"]), expected, atol=1e-5, err_msg=scheme)


def test_saved_models_take_no_packed_inputs_and_keep_the_switch(tmp_path):
    for trim in (True, False):
        model = make("first", trim)
        assert {tensor.name for tensor in model.inputs} == {"token_ids", "segment_ids", "padding_mask"}
        model.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras")
        assert loaded.trim_last_block is trim
        np.testing.assert_allclose(loaded(alone())["logits"], model(alone())["logits"], atol=1e-6)
        np.testing.assert_allclose(loaded.packed(packed(), 3)["logits"], model.packed(packed(), 3)["logits"], atol=1e-6)


@pytest.mark.parametrize("pool", [layers.MeanPooling, layers.FirstTokenPooling, layers.MaxPooling])
def test_pooling_of_several_texts_equals_numpy(pool):
    states = np.random.default_rng(0).normal(size=(2, LENGTH, 5))
    inputs = packed()
    masks = ops.example_masks(inputs["example_ids"], 4)
    found = np.array(pool()(np.float32(states), masks))
    assert found.shape == (2, 4, 5)
    function = {"MeanPooling": np.mean, "MaxPooling": np.max, "FirstTokenPooling": lambda x, axis: x[0]}[pool.__name__]
    for row, place in PLACES:
        expected = function(states[row][inputs["example_ids"][row] == place + 1], axis=0)
        np.testing.assert_allclose(found[row, place], expected, atol=1e-6)
    if pool is not layers.FirstTokenPooling:
        np.testing.assert_array_equal(found[1, 1:], 0)
    symbolic = pool()(keras.Input((None, 5)), keras.Input((4, None), dtype="bool"))
    assert symbolic.shape == (None, 4, 5)


def test_attention_pooling_of_several_texts_equals_that_of_each_alone():
    layer = layers.AttentionPooling(initializer_range=1.0)
    states = np.random.default_rng(0).normal(size=(2, LENGTH, 5)).astype("float32")
    ids = packed()["example_ids"]
    found = np.array(layer(states, ops.example_masks(ids, 4)))
    for row, place in PLACES:
        expected = layer(states[row : row + 1], ids[row : row + 1] == place + 1)
        np.testing.assert_allclose(found[row, place], expected[0], atol=1e-6)
    np.testing.assert_array_equal(found[1, 1:], 0)


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("one", [True, False], ids=["one-for-all", "of-each-row"])
def test_tokens_are_taken_from_any_axis(axis, one):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1 if one else 3, *[4] * (axis - 1), 6, 5)).astype("float32")
    places = rng.integers(0, 6, (3, 2))
    found = np.array(ops.take_tokens(x, places, axis))
    for row in range(3):
        expected = np.take(x[0 if one else row], places[row], axis=axis - 1)
        np.testing.assert_array_equal(found[row], expected)
    np.testing.assert_array_equal(ops.take_tokens(x, slice(1, 3), axis), np.take(x, [1, 2], axis=axis))


def wrong_ids():
    inputs = packed()
    inputs["example_ids"][1, -1] = 2
    return inputs


@pytest.mark.parametrize(
    ("inputs", "num_texts", "message"),
    [
        (alone(), 2, "without position_ids, example_ids"),
        (packed() | {"position_ids": np.zeros((2, 3), "int32")}, 3, r"the shape \(rows, length\)"),
        (packed(), 2, "from 1 to num_texts, and 0 for padding. Received: 0 to 3, num_texts=2"),
        (packed(), 0, "num_texts must be an integer above 0"),
        (wrong_ids(), 3, "Received: row 1, where they differ"),
    ],
    ids=["missing", "shape", "too-many", "none", "padding"],
)
def test_rows_that_do_not_fit_are_refused(inputs, num_texts, message):
    with pytest.raises(ValueError, match=message):
        make().packed(inputs, num_texts)


def test_jax_without_tensorflow_gives_the_same_logits(tmp_path):
    model = make("first", position=PositionConfig("relative_bias"))
    model.save(tmp_path / "model.keras")
    inputs = packed()
    np.savez(tmp_path / "packed.npz", logits=np.array(model.packed(inputs, 3)["logits"]), **inputs)
    code = f"""
import sys
import jax, keras, numpy as np
import keras_transformer.models

inputs = dict(np.load({str(tmp_path / "packed.npz")!r}))
expected = inputs.pop("logits")
model = keras.saving.load_model({str(tmp_path / "model.keras")!r})
logits = jax.jit(lambda inputs: model.packed(inputs, 3)["logits"])(inputs)
np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=2e-5)
assert "tensorflow" not in sys.modules
"""
    run_python(code, KERAS_BACKEND="jax", JAX_PLATFORMS="cpu")
