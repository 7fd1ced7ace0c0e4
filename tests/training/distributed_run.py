"""Trains a small classifier under one strategy and writes what happened; a process of its own for each strategy.

Run as `python distributed_run.py STRATEGY OUTPUT.npz STEPS`: logical devices must be set before TensorFlow starts.
"""

import sys

import keras
import numpy as np
import tensorflow as tf

from keras_transformer import losses, optimizers
from keras_transformer.layers import AttentionConfig, FeedForwardConfig
from keras_transformer.models import EncoderConfig, TextClassifier, TransformerEncoder
from keras_transformer.training import strategies
from keras_transformer.training.distributed import DistributedModel

BUCKETS = {8: 12, 16: 7, 24: 5}  # length of a batch -> its number of examples; 7 and 5 do not divide by two
LAST = (16, 1)  # the last batch of an epoch is one example: one of two replicas has none
CLIP_NORM = 0.02


def batches(steps_per_epoch: int, seed: int) -> list:
    """Returns batches of bucketed lengths and unequal sizes, with weights; the last one holds a single example."""
    rng = np.random.default_rng(seed)
    plan = [tuple(BUCKETS.items())[i] for i in rng.integers(0, 3, steps_per_epoch - 1)] + [LAST]
    result = []
    for length, size in plan:
        lengths = rng.integers(3, length + 1, size)
        mask = (np.arange(length) < lengths[:, None]).astype("int32")
        ids = (rng.integers(1, 60, (size, length)) * mask).astype("int32")
        inputs = {"token_ids": ids, "segment_ids": np.zeros_like(ids), "padding_mask": mask}
        result.append((inputs, (ids.max(1) % 3).astype("int32"), rng.uniform(0.5, 1.5, size).astype("float32")))
    return result


def dataset(parts: list) -> tf.data.Dataset:
    """Returns the batches as a dataset of the shapes that training gets."""
    ids = {name: tf.TensorSpec((None, None), tf.int32) for name in parts[0][0]}
    spec = (ids, tf.TensorSpec((None,), tf.int32), tf.TensorSpec((None,), tf.float32))
    return tf.data.Dataset.from_generator(lambda: iter(parts), output_signature=spec).apply(
        tf.data.experimental.assert_cardinality(len(parts))
    )


def build(strategy, steps: int, dropout: float = 0.0, **compile_options) -> DistributedModel:
    """Returns a compiled model; every process draws the same weights."""
    keras.utils.set_random_seed(3)
    config = EncoderConfig(
        vocabulary_size=60,
        hidden_dim=16,
        num_layers=2,
        max_length=32,
        dropout=dropout,
        attention=AttentionConfig(num_heads=2, dropout=dropout),
        feed_forward=FeedForwardConfig(intermediate_dim=32),
        initializer_range=0.2,
    )
    with strategy.scope():
        model = TextClassifier(TransformerEncoder(config), num_outputs=3, dropout=dropout)
        distributed = DistributedModel(model, examples_per_step=8.0)
        distributed.compile(
            optimizers.create(model, 3e-3, steps, layer_decay=0.9, clip_norm=CLIP_NORM),
            losses.for_kind("single_label", label_smoothing=0.1),
            metrics=[keras.metrics.SparseCategoricalAccuracy("accuracy")],
            weighted_metrics=[keras.metrics.SparseCategoricalAccuracy("weighted_accuracy")],
            **compile_options,
        )
    return distributed


class Recorder(keras.callbacks.Callback):
    """Keeps the loss and the gradient norm of every single step."""

    def __init__(self):
        super().__init__()
        self.losses, self.norms = [], []

    def on_train_batch_begin(self, batch, logs=None):
        self.model.reset_metrics()

    def on_train_batch_end(self, batch, logs=None):
        self.losses.append(float(logs["loss"]))
        self.norms.append(float(self.model.optimizer.gradient_norm.numpy()))


def main(name: str, output: str, steps: int) -> None:
    strategy = strategies.create(name, logical_cpus=2 if name == "mirrored" else None)
    assert strategy.num_replicas_in_sync == (2 if name == "mirrored" else 1)
    parts = batches(steps // 4, seed=0)
    distributed, recorder = build(strategy, steps), Recorder()
    history = distributed.fit(dataset(parts), epochs=4, verbose=0, callbacks=[recorder]).history
    held_out = batches(6, seed=1)
    measured = distributed.evaluate(dataset(held_out), return_dict=True, verbose=0)
    logits = distributed.predict(dataset(held_out).map(lambda x, y, w: x), verbose=0)["logits"]
    np.savez(
        output,
        losses=recorder.losses,
        norms=recorder.norms,
        logits=logits,
        **{f"measured/{k}": v for k, v in measured.items()},
        **{f"history/{k}": v for k, v in history.items()},
        **{f"weights/{v.path}": v.numpy() for v in distributed.model.trainable_variables},
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
