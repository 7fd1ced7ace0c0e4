"""Trains a small classifier on one device and on two replicas and writes what happened; see test_distributed.py.

Run as `python distributed_run.py FOLDER STEPS [STEPS_PER_EXECUTION]`, in a process of its own: the CPU can only be
split into two devices before TensorFlow starts.
"""

import json
import pathlib
import sys

import keras
import numpy as np
import tensorflow as tf

from keras_transformer import losses, optimizers
from keras_transformer.layers import AttentionConfig, Dropout, FeedForwardConfig
from keras_transformer.models import (
    EncoderConfig,
    TextClassifier,
    TransformerEncoder,
    enable_lora,
    freeze,
    without_adapters,
)
from keras_transformer.training import strategies
from keras_transformer.training.distributed import DistributedModel

BUCKETS = {8: 12, 16: 7, 24: 5}  # length of a batch -> its number of examples; 7 and 5 do not divide by two
TOGETHER = 3  # batches that make an update; an epoch of seven leaves one for an update of its own
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


def build(
    strategy, steps: int, dropout: float = 0.0, frozen=None, rank=None, ema_decay=None, **compile_options
) -> DistributedModel:
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
        if frozen is not None:
            freeze(model, frozen)
        if rank is not None:
            enable_lora(model, rank)
        distributed = DistributedModel(model, examples_per_step=8.0)
        distributed.compile(
            optimizers.create(model, 3e-3, steps, layer_decay=0.9, clip_norm=CLIP_NORM, ema_decay=ema_decay),
            losses.for_kind("single_label", label_smoothing=0.1),
            metrics=[keras.metrics.SparseCategoricalAccuracy("accuracy")],
            weighted_metrics=[keras.metrics.SparseCategoricalAccuracy("weighted_accuracy")],
            **{"compiled_elementwise": True} | compile_options,
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


def run(strategy, steps: int, output: pathlib.Path, steps_per_execution: int = 1) -> None:
    """Trains, evaluates and predicts, and writes losses, norms, metrics, logits and weights."""
    parts, held_out = batches(steps // 4, seed=0), batches(6, seed=1)
    before = [part[2].copy() for part in parts]
    distributed, recorder = build(strategy, steps, steps_per_execution=steps_per_execution), Recorder()
    history = distributed.fit(dataset(parts), epochs=4, verbose=0, shuffle=False, callbacks=[recorder]).history
    measured = distributed.evaluate(dataset(held_out), return_dict=True, verbose=0)
    logits = distributed.predict(dataset(held_out).map(lambda x, y, w: x), verbose=0)["logits"]
    np.savez(
        output,
        losses=recorder.losses,
        norms=recorder.norms,
        logits=logits,
        data_intact=all(np.array_equal(a, b[2]) for a, b in zip(before, parts, strict=True)),
        **{f"measured/{k}": v for k, v in measured.items()},
        **{f"history/{k}": v for k, v in history.items()},
        **{f"weights/{v.path}": v.numpy() for v in distributed.model.trainable_variables},
    )


def merged(parts: list, count: int) -> list:
    """Returns groups of `count` batches as one batch each."""
    result = []
    for group in (parts[i : i + count] for i in range(0, len(parts), count)):
        length = max(part[0]["token_ids"].shape[1] for part in group)
        inputs = {
            name: np.concatenate(
                [np.pad(part[0][name], ((0, 0), (0, length - part[0][name].shape[1]))) for part in group]
            )
            for name in group[0][0]
        }
        result.append((inputs, *(np.concatenate([part[i] for part in group]) for i in (1, 2))))
    return result


def run_accumulated(strategy, output: pathlib.Path, together: int = TOGETHER) -> None:
    """Trains with updates of several batches each; with `together` 1, of batches of the same examples at once."""
    parts = batches(7, seed=2)
    updates = merged(parts, TOGETHER)
    distributed, recorder = build(strategy, 4 * len(updates), accumulation_steps=together), Recorder()
    before = {f"before/{v.path}": v.numpy() for v in distributed.model.trainable_variables}
    distributed.fit(
        dataset(updates if together == 1 else parts), epochs=4, verbose=0, shuffle=False, callbacks=[recorder]
    )
    np.savez(
        output,
        norm=distributed.optimizer.gradient_norm.numpy(),
        updates=distributed.optimizer.iterations.numpy(),
        steps=len(recorder.losses),
        **before,
        **{f"weights/{v.path}": v.numpy() for v in distributed.model.trainable_variables},
    )


def run_partly(strategy, output: pathlib.Path) -> None:
    """Trains a model of which most is frozen, and writes all its weights and the means of those that are trained."""
    distributed = build(strategy, 14, frozen=1, rank=2, ema_decay=0.8)
    before = {f"before/{v.path}": v.numpy() for v in distributed.model.weights}
    distributed.fit(dataset(batches(7, seed=2)), epochs=2, verbose=0, shuffle=False)
    trained = {f"weights/{v.path}": v.numpy() for v in distributed.model.weights}
    plain = without_adapters(distributed.model)
    trained |= {f"weights/plain/{v.path}": v.numpy() for v in plain.weights}
    with distributed.optimizer.averaged():
        averages = {f"weights/mean/{v.path}": v.numpy() for v in distributed.model.trainable_variables}
    np.savez(output, **before, **trained, **averages)


def run_several(strategy, output: pathlib.Path) -> None:
    """Trains two outputs with a loss each on batches of uneven sizes, and writes weights, losses and metrics."""
    keras.utils.set_random_seed(4)
    rng = np.random.default_rng(7)
    parts = []
    for size in (7, 4, 1, 6):
        labels = {"kind": rng.integers(0, 3, size).astype("int32"), "value": rng.random((size, 2), "float32")}
        parts.append((rng.random((size, 5), "float32"), labels, {name: rng.random(size, "float32") for name in labels}))
    with strategy.scope():
        inputs = keras.Input((5,))
        model = keras.Model(inputs, {n: keras.layers.Dense(k, name=n)(inputs) for n, k in (("kind", 3), ("value", 2))})
        distributed = DistributedModel(model, {"kind": 4.0, "value": 3.0})
        distributed.compile(
            optimizers.AdamW(3e-2, global_clipnorm=CLIP_NORM),
            {"kind": losses.for_kind("single_label"), "value": losses.for_kind("regression")},
            weighted_metrics={"kind": [keras.metrics.SparseCategoricalAccuracy("accuracy")]},
            loss_weights={"value": 0.5},
            batch_loss=True,
        )
    signature = tf.nest.map_structure(lambda x: tf.TensorSpec((None, *x.shape[1:]), x.dtype), parts[0])
    read = tf.data.Dataset.from_generator(lambda: iter(parts), output_signature=signature)
    seen = []
    keep = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(float(logs["batch_loss"])))
    history = distributed.fit(read, epochs=3, verbose=0, shuffle=False, callbacks=[keep]).history
    np.savez(
        output,
        batch_losses=seen,
        **{f"history/{name}": values for name, values in history.items()},
        **{f"weights/{v.path}": v.numpy() for v in model.trainable_variables},
    )


def dropped(strategy) -> np.ndarray:
    """Returns where two calls of a dropout leave ones, boolean (local replicas, 2, 10000)."""
    with strategy.scope():
        layer = Dropout(0.5, seed=1)

    def calls():
        return tf.stack([layer(tf.ones((10_000,)), training=True) for _ in range(2)])

    found = strategy.experimental_local_results(tf.function(lambda: strategy.run(calls))())
    return np.stack(found) > 0


def refusals(strategy) -> dict[str, str]:
    """Returns the messages for what does not work on two replicas."""

    def message(make):
        try:
            make()
        except ValueError as error:
            return str(error)
        return "no error"

    def model():
        return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])

    def compiled(make_optimizer, within=True, make_metrics=list, **options):
        with strategy.scope():
            distributed = DistributedModel(model(), examples_per_step=1)
            optimizer, metrics = make_optimizer() if within else None, make_metrics() if within else None
        if not within:
            optimizer, metrics = make_optimizer(), make_metrics()
        return lambda: distributed.compile(optimizer, losses.for_kind("single_label"), metrics, **options)

    def model_outside():
        inner = model()
        with strategy.scope():
            other = DistributedModel(model(), 1)
        other.model = inner
        other.compile("sgd", losses.for_kind("single_label"))

    adam = optimizers.AdamW
    collective = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])  # without strategies.create: TensorFlow's default
    with collective.scope():
        collective_model = DistributedModel(model(), 1)
    one_loss = losses.for_kind("single_label")
    cases = {
        "keras clipping": compiled(lambda: keras.optimizers.Adam(1e-3, global_clipnorm=1.0)),
        "accumulation": compiled(lambda: adam(1e-3, gradient_accumulation_steps=2)),
        "xla": compiled(lambda: adam(1e-3), jit_compile=True),
        "collectives in a loop": lambda: collective_model.compile("sgd", one_loss, steps_per_execution=2),
        "optimizer outside": compiled(lambda: adam(1e-3), within=False),
        "metric outside": compiled(lambda: "sgd", within=False, make_metrics=lambda: [keras.metrics.Mean()]),
        "model outside": model_outside,
        "fine": compiled(lambda: adam(1e-3, global_clipnorm=1.0)),
    }
    return {name: message(case) for name, case in cases.items()}


def main(folder: pathlib.Path, steps: int, steps_per_execution: int = 1) -> None:
    from packed_run import run as run_packed  # which builds on this file

    mirrored = strategies.create("mirrored", logical_cpus=2)
    assert mirrored.num_replicas_in_sync == 2
    run(strategies.create("one_device"), steps, folder / "one_device.npz")
    run(mirrored, steps, folder / "mirrored.npz", steps_per_execution)
    if steps_per_execution > 1:
        return  # which changes nothing of the rest
    run_accumulated(strategies.create("one_device"), folder / "at_once.npz", together=1)
    run_accumulated(strategies.create("one_device"), folder / "accumulated_one_device.npz")
    run_accumulated(mirrored, folder / "accumulated_mirrored.npz")
    run_partly(strategies.create("one_device"), folder / "partly_one_device.npz")
    run_partly(mirrored, folder / "partly_mirrored.npz")
    run_several(strategies.create("one_device"), folder / "several_one_device.npz")
    run_several(mirrored, folder / "several_mirrored.npz")
    run_packed(strategies.create("one_device"), folder / "packed_one_device.npz")
    run_packed(mirrored, folder / "packed_mirrored.npz")
    np.savez(folder / "dropped.npz", one=dropped(strategies.create("one_device")), two=dropped(mirrored))
    (folder / "refusals.json").write_text(json.dumps(refusals(mirrored)))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), *map(int, sys.argv[2:]))
