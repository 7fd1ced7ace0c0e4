"""Training steps of small models, from which a machine's overheads follow and how far its parts run side by side."""

import dataclasses
from collections.abc import Callable

from keras_transformer.layers import AttentionConfig, FeedForwardConfig
from keras_transformer.models import EncoderConfig
from keras_transformer.plan import process
from keras_transformer.plan.machine import Machine
from keras_transformer.plan.parameters import by_part
from keras_transformer.plan.stages import Batch, stages
from keras_transformer.plan.timing import step_time

# Sizes of no published model.
_REFERENCE = EncoderConfig(
    vocabulary_size=4000,
    hidden_dim=320,
    num_layers=3,
    attention=AttentionConfig(num_heads=8),
    feed_forward=FeedForwardConfig(intermediate_dim=1280),
)
_BATCH = Batch(10, 144)
_SMALL_LAYERS = (1, 5)
_SMALL_BATCH = Batch(1, 8)


def _small(layers: int) -> EncoderConfig:
    return dataclasses.replace(
        _REFERENCE,
        vocabulary_size=100,
        hidden_dim=32,
        num_layers=layers,
        attention=AttentionConfig(num_heads=4),
        feed_forward=FeedForwardConfig(intermediate_dim=64),
    )


def overheads(clock: Callable[[Callable[[], object]], float]) -> dict:
    """Returns the fields of `Machine` that very small steps tell: seconds of a block and of a step, and the memory.

    Args:
        clock: Takes a function and returns the seconds of a call.
    """
    one = clock(training_step(_small(_SMALL_LAYERS[0]), _SMALL_BATCH, "float32"))
    library = process.resident()
    more = clock(training_step(_small(_SMALL_LAYERS[1]), _SMALL_BATCH, "float32"))
    block = max(0.0, (more - one) / (_SMALL_LAYERS[1] - _SMALL_LAYERS[0]))
    step = max(0.0, one - _SMALL_LAYERS[0] * block)
    return {"block_seconds": block, "step_seconds": step, "library": library}


def factors(machine: Machine, clock: Callable[[Callable[[], object]], float]) -> dict[str, float]:
    """Returns what a step of a reference takes over what its parts sum up to, by dtype of products.

    Args:
        machine: What plain operations have told.
        clock: Takes a function and returns the seconds of a call.
    """
    parameters = sum(by_part(_REFERENCE).values())
    found = {}
    for dtype in ("float32", "bfloat16"):
        expected = step_time(stages(_REFERENCE, _BATCH), parameters, machine, dtype, recompute=False)
        fixed = expected.update + expected.overhead
        measured = clock(training_step(_REFERENCE, _BATCH, dtype))
        found[dtype] = max(0.1 * measured, measured - fixed) / (expected.total - fixed)
    return found


def training_step(config: EncoderConfig, batch: Batch, product_dtype: str) -> Callable[[], object]:
    """Returns a training step of a classifier, as the recipes train it, on random tokens."""
    import numpy as np
    import tensorflow as tf

    from keras_transformer import losses, models, ops, optimizers

    model = models.TextClassifier(models.create(config), num_outputs=2)
    optimizer = optimizers.create(model, learning_rate=1e-4, total_steps=1000)
    optimizer.build(model.trainable_variables)
    loss = losses.for_kind("single_label")
    tokens = np.random.default_rng(0).integers(1, config.vocabulary_size, (batch.examples, batch.length))
    inputs = {
        "token_ids": tf.constant(tokens, tf.int32),
        "segment_ids": tf.zeros(tokens.shape, tf.int32),
        "padding_mask": tf.ones(tokens.shape, tf.int32),
    }
    labels = tf.constant(np.arange(batch.examples) % 2, tf.int32)

    @tf.function(autograph=False)
    def step():
        with tf.GradientTape() as tape, ops.products_in(product_dtype), ops.compiled_elementwise():
            value = tf.reduce_mean(loss.call(labels, model(inputs, training=True)["logits"]))
        variables = model.trainable_variables
        optimizer.apply(tape.gradient(value, variables), variables)
        return value

    return step
