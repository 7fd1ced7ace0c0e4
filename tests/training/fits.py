"""Tiny trainings for the tests of the loop, and the check that a killed one ends as if it had never been ended."""

import dataclasses

import keras
import numpy as np
import pytest

from keras_transformer import data, losses, optimizers
from keras_transformer.layers import AttentionConfig, FeedForwardConfig
from keras_transformer.models import EncoderConfig, TextClassifier, TransformerEncoder
from keras_transformer.pipelines import score_rows
from keras_transformer.training import CheckpointStore, DistributedModel, TrainRecipe, judging
from keras_transformer.training.batches import TextBatches
from keras_transformer.training.fitting import Fit, TrainState, updates_per_epoch
from keras_transformer.training.scalars import ScalarWriter

BUCKETS = (8, 12)


def make_rows(count, seed=0):
    """Rows of 3 to 12 tokens; the label says whether token 7 occurs."""
    random = np.random.default_rng(seed)
    rows = [random.integers(8, 30, random.integers(3, 13)) for _ in range(count)]
    labels = np.arange(count) % 2
    for row, label in zip(rows, labels, strict=True):
        if label:
            row[random.integers(len(row))] = 7
    splits = np.cumsum([0, *map(len, rows)])
    return data.TokenRows(np.concatenate(rows), splits, np.arange(count)), labels.astype(np.int32)


def make_transformer(dropout):
    """The smallest classifier of ours."""
    config = EncoderConfig(
        vocabulary_size=30,
        hidden_dim=16,
        num_layers=1,
        max_length=12,
        dropout=dropout,
        attention=AttentionConfig(num_heads=2, dropout=dropout),
        feed_forward=FeedForwardConfig(intermediate_dim=16),
    )
    return TextClassifier(TransformerEncoder(config), 2, dropout=dropout)


def make_bag(dropout):
    """A bag of words with our inputs and outputs: what is tested here is the loop, and this is fast."""
    names = ("token_ids", "segment_ids", "padding_mask")
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in names}
    words = keras.layers.Embedding(30, 8, name="words")(inputs["token_ids"])
    dropped = keras.layers.Dropout(dropout)(keras.layers.GlobalMaxPooling1D()(words))
    return keras.Model(inputs, {"logits": keras.layers.Dense(2, name="head")(dropped)})


def make_fit(
    folder,
    epochs=2,
    validations=None,
    dropout=0.1,
    checkpoint_steps=100,
    count=16,
    bag=True,
    stages=(),
    guard=None,
    **options,
):
    """A Fit of a tiny model; `validations` replaces the real validation by a list of its results."""
    rows, labels = make_rows(count)
    plan = data.BatchPlan(rows.lengths, BUCKETS, tokens_per_batch=60, seed=1)
    together = options.get("accumulation_steps", 1)
    updates = updates_per_epoch(plan.steps_per_epoch, together)
    keras.utils.set_random_seed(5)
    model = DistributedModel((make_bag if bag else make_transformer)(dropout), examples_per_step=count / updates)
    model.compile(
        optimizers.create(
            model.model, learning_rate=1e-2, total_steps=epochs * updates, ema_decay=options.get("ema_decay")
        ),
        losses.for_kind("single_label"),
        metrics=[keras.metrics.SparseCategoricalAccuracy("accuracy")],
        batch_loss=True,
        accumulation_steps=together,
        run_eagerly=bag,  # compiling takes most of the time of so few steps
    )
    results = iter(validations or ())

    def validate():
        if validations is not None:
            return next(results)
        logits = score_rows(model, rows, tokens_per_batch=480)
        return judging.measure("single_label", logits, labels)

    curriculum = data.Curriculum(rows, plan, stages, epochs) if stages else None
    return Fit(
        model,
        TextBatches(rows, labels, np.ones(count, np.float32), plan, curriculum),
        validate,
        options.pop("monitor", "accuracy"),
        TrainRecipe(epochs=epochs, **options),
        CheckpointStore(folder / "checkpoints"),
        {name: ScalarWriter(folder / "logs" / name) for name in ("train", "validation")},
        checkpoint_steps,
        guard=guard,
    )


def result(accuracy, loss=1.0):
    return {"accuracy": accuracy, "loss": loss}


class Killed(BaseException):
    """Stands for the end of a process."""


def die_at(monkeypatch, step):
    """Ends a training after a step as a kill does: nothing is cleaned up."""

    def die(point):
        if point == f"step:{step}":
            raise Killed

    monkeypatch.setattr("keras_transformer.training.faults.reach", die)


@dataclasses.dataclass
class Resumed:
    """A training that was never ended, and the same one that was killed and went on.

    Args:
        whole: the former, run.
        found: what the latter ended with.
        fit: the latter.
        kept: its checkpoints when it was killed.
    """

    whole: Fit
    found: TrainState
    fit: Fit
    kept: list[int]


def check_resumed(folder, at, **options):
    """Asserts that a training killed at a step goes on to the same state: weights, moments, seeds, metrics, curves."""
    whole = make_fit(folder / "whole", **options)
    expected = whole.run()
    with pytest.MonkeyPatch.context() as monkeypatch:
        die_at(monkeypatch, at)
        with pytest.raises(Killed):
            make_fit(folder / "killed", **options).run()
    fit = make_fit(folder / "killed", **options)
    kept = fit.store.steps()
    found = fit.run()
    last, tensors = (one.store.load_latest().tensors for one in (whole, fit))
    assert list(tensors) == list(last)
    for name in last:
        # A validation leaves its own numbers in the same metrics; the curves below are what counts.
        if not name.startswith("metrics/"):
            np.testing.assert_array_equal(tensors[name], last[name], err_msg=name)
    assert found.epochs == expected.epochs
    assert found.steps == expected.steps
    assert found.best_step == expected.best_step
    for a, b in zip(whole.model.model.get_weights(), fit.model.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    return Resumed(whole, found, fit, kept)
