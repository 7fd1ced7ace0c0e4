"""Training on packed rows: the losses and weights of training on the same texts unpacked, on replicas and resumed."""

import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_transformer import data, losses, optimizers
from keras_transformer.layers import AttentionConfig, FeedForwardConfig
from keras_transformer.models import EncoderConfig, TextClassifier, TransformerEncoder
from keras_transformer.training import DistributedModel, Recipe, preparation, run
from tests.training import fits
from tests.training.test_runner import tiny, write_table

RUN = Path(__file__).with_name("packed_run.py")
LONGEST = 16
COUNT = 60


def make_rows():
    """Rows of 3 to 14 tokens."""
    random = np.random.default_rng(0)
    lengths = random.integers(3, 15, COUNT)
    return data.TokenRows(random.integers(1, 40, lengths.sum()), np.cumsum([0, *lengths]), np.arange(COUNT))


def make_model(pooling, outputs=3, kind="single_label", **options):
    config = EncoderConfig(
        vocabulary_size=40,
        hidden_dim=16,
        num_layers=2,
        max_length=LONGEST,
        dropout=0.0,
        attention=AttentionConfig(num_heads=2, dropout=0.0),
        feed_forward=FeedForwardConfig(intermediate_dim=32),
        initializer_range=0.2,
        pooler=pooling == "first",
    )
    keras.utils.set_random_seed(3)
    model = TextClassifier(TransformerEncoder(config), outputs, kind=kind, pooling=pooling, dropout=0.0)
    distributed = DistributedModel(model, examples_per_step=10.0)
    metric = keras.metrics.SparseCategoricalAccuracy if kind == "single_label" else keras.metrics.RootMeanSquaredError
    distributed.compile(
        optimizers.create(model, 3e-3, 30, layer_decay=0.9, clip_norm=0.5),
        losses.for_kind(kind),
        metrics=[metric(name="counted")],
        weighted_metrics=[metric(name="weighted")],
        **options,
    )
    return distributed


class EveryStep(keras.callbacks.Callback):
    """Keeps the values of every single step."""

    def __init__(self):
        super().__init__()
        self.found = []

    def on_train_batch_begin(self, batch, logs=None):
        self.model.reset_metrics()

    def on_train_batch_end(self, batch, logs=None):
        self.found.append([float(logs[name]) for name in ("loss", "counted", "weighted")])


def train(model, datasets):
    steps = EveryStep()
    for dataset in datasets:
        model.fit(dataset, verbose=0, shuffle=False, callbacks=[steps])
    return np.array(steps.found), {v.path: v.numpy() for v in model.model.trainable_variables}


def unpacked(rows, labels, weights, plan, epoch):
    """The same texts in the same steps, one a row."""

    def batches():
        for step in range(plan.steps_per_epoch):
            chosen = plan.batch(epoch, step)[1]
            ids = np.zeros((len(chosen), LONGEST), np.int32)
            for place, row in enumerate(chosen):
                ids[place, : rows.lengths[row]] = rows.row(row)
            inputs = {"token_ids": ids, "segment_ids": np.zeros_like(ids), "padding_mask": (ids > 0).astype(np.int32)}
            yield inputs, labels[chosen], weights[chosen]

    ids = {name: tf.TensorSpec((None, None), tf.int32) for name in ("token_ids", "segment_ids", "padding_mask")}
    label = tf.TensorSpec((None, *labels.shape[1:]), labels.dtype)
    return tf.data.Dataset.from_generator(
        batches, output_signature=(ids, label, tf.TensorSpec((None,), tf.float32))
    ).apply(tf.data.experimental.assert_cardinality(plan.steps_per_epoch))


@pytest.mark.parametrize(
    ("pooling", "kind", "options"),
    [
        ("mean", "single_label", {}),
        ("first", "single_label", {"compiled_elementwise": True}),
        ("first", "regression", {"run_eagerly": True}),
    ],
    ids=["mean", "first-compiled", "regression"],
)
def test_packed_training_is_training_on_the_same_texts(pooling, kind, options):
    rows = make_rows()
    plan = data.PackedPlan(rows.lengths, LONGEST, tokens_per_batch=80, seed=1)
    labels = np.array([rows.row(i).max() % 3 for i in range(COUNT)], np.int32)
    if kind == "regression":
        labels = np.stack([labels, labels**2], 1).astype(np.float32)
    weights = np.linspace(0.0, 2.0, COUNT).astype(np.float32)  # of mean one; one text has no weight, but is counted
    epochs = range(2)
    arguments = (2 if kind == "regression" else 3, kind)
    alone = train(
        make_model(pooling, *arguments, **options), [unpacked(rows, labels, weights, plan, e) for e in epochs]
    )
    together = train(
        make_model(pooling, *arguments, **options),
        [data.make_dataset(rows, labels, weights, plan, epoch) for epoch in epochs],
    )
    assert len(alone[0]) == 2 * plan.steps_per_epoch > 10
    before = {v.path: v.numpy() for v in make_model(pooling, *arguments).model.trainable_variables}
    moved = [np.abs(alone[1][path] - before[path]).max() for path in before if not path.endswith("key/bias")]
    assert min(moved) > 1e-3, "the comparison needs weights that move"
    np.testing.assert_allclose(together[0], alone[0], rtol=1e-5, atol=1e-6)
    for path, value in alone[1].items():
        if not path.endswith("key/bias"):  # softmax cancels it: its gradient is rounding
            np.testing.assert_allclose(together[1][path], value, atol=2e-5 * np.abs(value).max(), err_msg=path)


def test_evaluation_counts_every_text_once():
    rows = make_rows()
    plan = data.PackedPlan(rows.lengths, LONGEST, tokens_per_batch=80, seed=1)
    labels = np.arange(COUNT).astype(np.int32) % 3
    weights = np.linspace(0.5, 1.5, COUNT).astype(np.float32)
    model = make_model("mean")
    measured = model.evaluate(data.make_dataset(rows, labels, weights, plan), return_dict=True, verbose=0)
    z = data.predict_in_order(lambda batches: model.predict(batches, verbose=0)["logits"], rows).astype("float64")
    loss = np.log(np.exp(z).sum(1)) - z[np.arange(COUNT), labels]
    hit = z.argmax(1) == labels
    np.testing.assert_allclose(measured["loss"], np.average(loss, weights=weights), rtol=1e-5)
    np.testing.assert_allclose(measured["counted"], hit.mean(), rtol=1e-6)
    np.testing.assert_allclose(measured["weighted"], np.average(hit, weights=weights), rtol=1e-5)


def test_two_replicas_train_on_packed_rows_as_one_device_does(tmp_path):
    done = subprocess.run(
        [sys.executable, str(RUN), str(tmp_path)], capture_output=True, text=True, timeout=600, cwd=RUN.parents[2]
    )
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = (dict(np.load(tmp_path / f"{name}.npz")) for name in ("one_device", "mirrored"))
    assert len(one["losses"]) > 15
    for name in one:
        if not name.endswith("key/bias"):
            largest = np.abs(one[name]).max()
            np.testing.assert_allclose(two[name], one[name], rtol=0, atol=2e-5 * largest, err_msg=name)


def test_a_resumed_packed_training_ends_as_one_that_was_never_ended(tmp_path, monkeypatch):
    def packed(lengths, buckets, **options):
        return data.PackedPlan(lengths, max(buckets), **options)

    monkeypatch.setattr(fits.data, "BatchPlan", packed)
    options = {"epochs": 2, "checkpoint_steps": 1, "patience": None, "bag": False}
    done = fits.check_resumed(tmp_path, at=4, **options)
    assert isinstance(done.whole.batches.plan, data.PackedPlan)
    assert done.whole.batches.steps_per_epoch < 4, "it was killed in the second epoch"


def test_a_recipe_trains_on_packed_rows(tmp_path):
    source = write_table(tmp_path / "texts.csv", lambda great, funny: "yes" if great else "no")
    recipe = tiny(source, "data.packing=true", "train.epochs=8", "judge.deletion_texts=0", "judge.worst_mistakes=0")
    metrics = run(recipe, tmp_path / "run")
    assert metrics["validation"]["model"]["accuracy"] > 0.7
    steps = json.loads((tmp_path / "run" / "run.json").read_text())["training"]["steps"]
    splits = preparation.load_splits(recipe)
    packer = preparation.make_packer(recipe, splits.train.texts, tmp_path / "run" / "checkpoints" / "vocabulary")
    rows = data.encode(packer, splits.train.texts)
    plan = preparation.make_plan(recipe, rows)
    assert isinstance(plan, data.PackedPlan)
    assert steps == 8 * plan.steps_per_epoch
    assert plan.fill_rate() > rows.lengths.mean() / recipe.data.max_length + 0.1, "rows must be shared"
    assert not Recipe().data.packing


def test_what_cannot_be_packed_is_refused():
    rows = make_rows()
    plan = data.PackedPlan(rows.lengths, LONGEST, tokens_per_batch=80)
    dataset = data.make_dataset(rows, np.zeros(COUNT, int), None, plan)
    inputs = {"token_ids": keras.Input((None,), dtype="int32", name="token_ids")}
    pooled = keras.layers.GlobalMaxPooling1D()(keras.layers.Embedding(40, 4)(inputs["token_ids"]))
    other = DistributedModel(keras.Model(inputs, {"logits": keras.layers.Dense(2)(pooled)}, name="bag"), 8)
    other.compile("sgd", losses.for_kind("single_label"), run_eagerly=True)
    with pytest.raises(ValueError, match=r"TextClassifier with its method packed. Received: Functional"):
        other.fit(dataset, verbose=0)
    model = make_model("mean", run_eagerly=True)
    with pytest.raises(ValueError, match=r"labels of shape \(rows, texts, ...\)"):
        model.fit(dataset.map(lambda x, y, w: (x, y[:, 0])), verbose=0)
