"""Gradient checkpointing: the same losses and gradients, dropout included, on every path."""

import keras
import numpy as np
import pytest

from keras_transformer import models, ops
from keras_transformer.layers import AttentionConfig
from tests.helpers import (
    decoder_inputs,
    encoder_decoder_inputs,
    text_inputs,
    tiny_config,
    tiny_decoder_config,
    tiny_encoder_decoder_config,
)

tf = pytest.importorskip("tensorflow")

DROPOUT = {
    "dropout": 0.2,
    "stochastic_depth": 0.3,
    "residual": "pre_norm",
    "attention": AttentionConfig(num_heads=4, dropout=0.2),
}
CASES = {
    "encoder": (lambda **changes: tiny_config(position="relative_keys", **changes), text_inputs),
    "decoder": (lambda **changes: tiny_decoder_config(position="rotary", **changes), decoder_inputs),
    "encoder-decoder": (
        lambda **changes: tiny_encoder_decoder_config(position="relative_bias", **changes),
        encoder_decoder_inputs,
    ),
}


def losses_and_gradients(config, inputs, graph, dtype):
    """Trains nothing: two passes with their gradients, from one seed."""
    keras.utils.set_random_seed(3)
    model = models.create(config)

    def step():
        with tf.GradientTape() as tape, ops.products_in(dtype), ops.compiled_elementwise(dtype == "bfloat16"):
            loss = tf.reduce_sum(model(inputs, training=True)["sequence_output"] ** 3)
        gradients = tape.gradient(loss, model.trainable_variables, unconnected_gradients="zero")
        return loss, [tf.convert_to_tensor(g) for g in gradients]

    step = tf.function(step) if graph else step
    results = [step() for _ in range(2)]
    return [[np.array(loss), *(np.array(g) for g in gradients)] for loss, gradients in results]


@pytest.mark.parametrize(
    ("dtype", "graph"),
    [
        ("float32", False),
        ("float32", True),
        ("bfloat16", True),
        pytest.param("bfloat16", False, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("name", CASES)
def test_computing_again_changes_neither_loss_nor_gradient(name, dtype, graph):
    config, inputs = CASES[name]
    kept, again = (
        losses_and_gradients(config(recompute=recompute, **DROPOUT), inputs(), graph, dtype)
        for recompute in (False, True)
    )
    assert kept[0][0] != kept[1][0], "dropout draws anew at every step"
    for before, after in zip(kept, again, strict=True):
        for a, b in zip(before, after, strict=True):
            # bfloat16 rounds the same way both times, or not at all.
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * max(1.0, np.abs(a).max()))


def test_it_survives_the_config_and_changes_no_weight():
    plain, again = tiny_config(), tiny_config(recompute=True)
    assert models.EncoderConfig.from_dict(again.to_dict()).recompute
    assert models.count_parameters(plain) == models.count_parameters(again)
    assert models.create(again).blocks[0].get_config()["recompute"] is True
