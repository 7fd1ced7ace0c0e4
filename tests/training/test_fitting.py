"""The training loop: it learns, keeps the best state, stops early, and goes on after a checkpoint as if nothing was."""

import logging
import os
import signal

import keras
import numpy as np
import pytest

from keras_transformer import data, losses, optimizers
from keras_transformer.layers import AttentionConfig, FeedForwardConfig
from keras_transformer.models import EncoderConfig, TextClassifier, TransformerEncoder
from keras_transformer.pipelines import score_rows
from keras_transformer.training import CheckpointStore, DistributedModel, TrainRecipe, judging, state
from keras_transformer.training.fitting import Fit, updates_per_epoch
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
    folder, epochs=2, validations=None, dropout=0.1, checkpoint_steps=100, count=16, bag=True, stages=(), **options
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
        accumulation_steps=together,
        run_eagerly=bag,  # compiling takes most of the time of so few steps
    )
    results = iter(validations or ())

    def validate():
        if validations is not None:
            return next(results)
        logits = score_rows(model, rows, tokens_per_batch=480)
        return judging.measure("single_label", logits, labels)

    return Fit(
        model,
        rows,
        labels,
        np.ones(count, np.float32),
        plan,
        validate,
        options.pop("monitor", "accuracy"),
        TrainRecipe(epochs=epochs, **options),
        CheckpointStore(folder / "checkpoints"),
        {name: ScalarWriter(folder / "logs" / name) for name in ("train", "validation")},
        checkpoint_steps,
        curriculum=data.Curriculum(rows, plan, stages, epochs) if stages else None,
    )


def result(accuracy, loss=1.0):
    return {"accuracy": accuracy, "loss": loss}


def test_it_learns(tmp_path):
    fit = make_fit(tmp_path, epochs=12, dropout=0.0, bag=False, count=40, patience=None)
    done = fit.run()
    assert done.epochs["val_accuracy"][-1] > 0.9, done.epochs
    assert done.epochs["loss"][-1] < 0.5 * done.epochs["loss"][0]
    assert fit.global_step == 12 * fit.plan.steps_per_epoch == len(done.steps["loss"])
    assert done.epochs["epoch"] == list(range(1, 13))


def test_the_loss_of_each_step_averages_to_the_loss_of_the_epoch(tmp_path):
    fit = make_fit(tmp_path, epochs=2)
    done = fit.run()
    per_epoch = fit.plan.steps_per_epoch
    for epoch in range(2):
        sizes = [len(fit.plan.batch(epoch, step)[1]) for step in range(per_epoch)]
        assert len(set(sizes)) > 1, "batches of several sizes, or the test proves little"
        expected = np.average(done.steps["loss"][epoch * per_epoch : (epoch + 1) * per_epoch], weights=sizes)
        assert done.epochs["loss"][epoch] == pytest.approx(expected, abs=1e-5)


def test_the_best_validation_is_what_remains(tmp_path):
    fit = make_fit(tmp_path, epochs=4, validations=[result(0.6), result(0.8), result(0.7), result(0.8)])
    done = fit.run()
    per_epoch = fit.plan.steps_per_epoch
    assert done.best_step == 2 * per_epoch
    assert fit.store.steps() == [n * per_epoch for n in (2, 3, 4)]
    best = fit.store.load(done.best_step).tensors
    kept = state.capture(fit.model)
    last = fit.store.load(4 * per_epoch).tensors
    names = [name for name in kept if name.startswith("model/")]
    assert all(np.array_equal(kept[name], best[name]) for name in names)
    assert not all(np.array_equal(kept[name], last[name]) for name in names)


def test_of_equal_accuracies_the_lower_loss_is_better(tmp_path):
    fit = make_fit(tmp_path, epochs=3, validations=[result(0.8, 0.5), result(0.8, 0.4), result(0.8, 0.45)])
    assert fit.run().best_step == 2 * fit.plan.steps_per_epoch


def test_the_loss_can_decide(tmp_path):
    found = [result(0.5, 0.5), result(0.9, 0.6), result(0.9, 0.7)]
    fit = make_fit(tmp_path, epochs=3, validations=found, monitor="loss")
    assert fit.run().best_step == fit.plan.steps_per_epoch


def test_it_stops_early(tmp_path, caplog):
    found = [result(0.6), result(0.8), result(0.7), result(0.7), result(0.9)]
    with caplog.at_level(logging.INFO):
        fit = make_fit(tmp_path, epochs=5, validations=found, patience=2)
        done = fit.run()
    assert done.stopped_early
    assert fit.global_step == 4 * fit.plan.steps_per_epoch
    assert done.best_step == 2 * fit.plan.steps_per_epoch
    assert "stopped early" in caplog.text
    assert make_fit(tmp_path, epochs=5, validations=[], patience=2).run().stopped_early, (
        "a second process trains no more"
    )


def test_validations_within_an_epoch(tmp_path):
    found = [result(0.5), result(0.9), result(0.6), result(0.6), result(0.6), result(0.6)]
    fit = make_fit(tmp_path, epochs=2, validations=found, patience=None, validations_per_epoch=3, count=24)
    per_epoch = fit.plan.steps_per_epoch
    done = fit.run()
    ends = [round(per_epoch * i / 3) for i in (1, 2, 3)]
    assert ends[0] < ends[1] < ends[2] == per_epoch
    assert done.epochs["epoch"] == pytest.approx([(e * per_epoch + n) / per_epoch for e in (0, 1) for n in ends])
    assert done.best_step == ends[1]


class Killed(BaseException):
    """Stands for the end of a process."""


@pytest.mark.parametrize(("at", "validations_per_epoch", "bag"), [(1, 1, True), (5, 2, True), (7, 1, False)])
def test_a_resumed_training_ends_as_one_that_was_never_ended(tmp_path, monkeypatch, at, validations_per_epoch, bag):
    """All state: weights, moments, dropout seeds, running metrics, curves; checkpoints lie two steps apart."""
    options = {"epochs": 2, "checkpoint_steps": 2, "patience": None, "bag": bag}
    options["validations_per_epoch"] = validations_per_epoch
    whole = make_fit(tmp_path / "whole", **options)
    assert whole.plan.steps_per_epoch == 4
    expected = whole.run()
    last = whole.store.load_latest().tensors

    def die(point):
        if point == f"step:{at}":
            raise Killed

    monkeypatch.setattr("keras_transformer.training.faults.reach", die)
    with pytest.raises(Killed):
        make_fit(tmp_path / "killed", **options).run()
    monkeypatch.undo()
    resumed = make_fit(tmp_path / "killed", **options)
    found = resumed.run()
    tensors = resumed.store.load_latest().tensors
    assert list(tensors) == list(last)
    for name in last:
        if name.startswith("metrics/"):
            continue  # a validation leaves its own numbers in the same metrics; the curves below are what counts
        np.testing.assert_array_equal(tensors[name], last[name], err_msg=name)
    assert found.epochs == expected.epochs
    assert found.steps["step"] == expected.steps["step"]
    np.testing.assert_allclose(found.steps["loss"], expected.steps["loss"], atol=2e-6)
    assert found.best_step == expected.best_step


def test_a_lost_best_checkpoint_is_said(tmp_path, caplog):
    fit = make_fit(tmp_path, epochs=3, validations=[result(0.9), result(0.5), result(0.5)], patience=None)
    original = fit._restore_best
    fit._restore_best = lambda: (fit.store.path(fit.state.best_step).unlink(), original())
    fit.run()
    assert "weights of the last step are used" in caplog.text


def test_a_state_of_another_model_is_refused(tmp_path):
    fit = make_fit(tmp_path)
    tensors = state.capture(fit.model)
    name = next(name for name in tensors if tensors[name].ndim == 2)
    with pytest.raises(ValueError, match="another model"):
        state.restore(fit.model, tensors | {name: tensors[name][:, :1]}, ("model",))
    tensors.pop(name)
    with pytest.raises(ValueError, match="another model"):
        state.restore(fit.model, tensors, ("model",))


def test_a_loss_that_is_not_finite_ends_the_training(tmp_path):
    fit = make_fit(tmp_path)
    fit.model.model.get_layer("head").bias.assign([np.nan, 0.0])
    with pytest.raises(FloatingPointError, match="not finite at step 1"):
        fit.run()
    assert fit.store.steps() == []


def test_an_interrupt_waits_for_the_checkpoint(tmp_path, monkeypatch):
    def interrupt(point):
        if point == "step:2":
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("keras_transformer.training.faults.reach", interrupt)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        make_fit(tmp_path).run()
    assert signal.getsignal(signal.SIGTERM) is before
    again = make_fit(tmp_path)
    assert again.store.steps() == [3], "the step after the signal is finished and kept"
