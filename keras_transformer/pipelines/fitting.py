"""Fine-tuning of a pipeline in memory: batches by length or of packed rows, warm-up and decay, the best epoch kept."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_transformer import data, losses, optimizers
from keras_transformer.data.plan import BUCKET_LENGTHS
from keras_transformer.pipelines import packed_texts
from keras_transformer.text import TextPacker

if TYPE_CHECKING:
    from keras_transformer.pipelines.text_pipeline import TextPipeline


def fit(
    pipeline: "TextPipeline",
    train: data.Examples,
    validation: data.Examples | None,
    *,
    epochs: int,
    learning_rate: float,
    tokens_per_batch: int,
    packing: bool,
    weight_decay: float,
    layer_decay: float,
    label_smoothing: float,
    class_weights: dict[str, float] | str | None,
    seed: int,
    verbose: int | str,
    callbacks: Sequence[keras.callbacks.Callback],
) -> None:
    """Fine-tunes the model of a pipeline; for the arguments see `TextPipeline.fit`."""
    packer = pipeline.packer
    model = packed_texts.around(pipeline.model) if packing else pipeline.model
    buckets = tuple(sorted({*(n for n in BUCKET_LENGTHS if n < packer.max_length), packer.max_length}))
    rows = data.encode(packer, train.texts)
    options = {"tokens_per_batch": max(tokens_per_batch, packer.max_length), "seed": seed}
    if packing:
        plan = data.PackedPlan(rows.lengths, packer.max_length, **options)
    else:
        plan = data.BatchPlan(rows.lengths, buckets, **options)
    if isinstance(class_weights, dict):
        class_weights = {_index(pipeline.class_names, name): weight for name, weight in class_weights.items()}
    weights = data.example_weights(train.labels, class_weights, num_classes=len(pipeline.class_names))
    examples_per_step = len(rows) / plan.steps_per_epoch
    model.default_compile(
        optimizer=optimizers.create(
            pipeline.model,
            learning_rate=learning_rate,
            total_steps=epochs * plan.steps_per_epoch,
            weight_decay=weight_decay,
            layer_decay=layer_decay,
        ),
        loss={"logits": losses.for_kind(pipeline.kind, label_smoothing=label_smoothing)},
    )
    validation_set = _validation_set(packer, validation, buckets)
    best = _KeepBest() if validation_set is not None else None
    for epoch in range(epochs):
        dataset = data.make_dataset(rows, train.labels, weights, plan, epoch, pad_id=packer.pad_id)
        if packing:
            dataset = packed_texts.one_by_one(dataset)
        # Keras averages over a batch: the factor makes every example count the same in batches of any size.
        dataset = dataset.map(lambda x, y, w: (x, {"logits": y}, {"logits": w * (_batch_size(w) / examples_per_step)}))
        model.fit(
            dataset,
            validation_data=validation_set,
            initial_epoch=epoch,
            epochs=epoch + 1,
            shuffle=False,
            verbose=verbose,
            callbacks=[*callbacks, *([best] if best else [])],
        )
    if best is not None:
        best.restore(model)


def _validation_set(packer: TextPacker, validation: data.Examples | None, buckets: tuple[int, ...]):
    if validation is None or not len(validation.texts):
        return None
    rows = data.encode(packer, validation.texts)
    plan = data.BatchPlan(rows.lengths, buckets, max(8192, packer.max_length), shuffle=False)
    dataset = data.make_dataset(rows, validation.labels, None, plan, pad_id=packer.pad_id)
    return dataset.map(lambda x, y, w: (x, {"logits": y}))


def _index(class_names: tuple[str, ...], name: str) -> int:
    if name not in class_names:
        raise ValueError(f"The classes are {', '.join(class_names)}. Received: a weight for {name!r}")
    return class_names.index(name)


class _KeepBest(keras.callbacks.Callback):
    """Remembers the weights of the epoch with the lowest validation loss."""

    def __init__(self):
        super().__init__()
        self.loss = float("inf")
        self.weights: list[np.ndarray] | None = None

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if logs["val_loss"] < self.loss:
            self.loss = logs["val_loss"]
            self.weights = self.model.get_weights()

    def restore(self, model: keras.Model) -> None:
        if self.weights is not None:
            model.set_weights(self.weights)


def _batch_size(weights) -> Any:
    return keras.ops.cast(keras.ops.shape(weights)[0], "float32")
