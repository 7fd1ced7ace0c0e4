"""Training on packed rows: the losses and weights of training on the same texts unpacked, and resumed."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_transformer import data, losses, optimizers
from keras_transformer.layers import AttentionConfig, FeedForwardConfig
from keras_transformer.models import (
    EncoderConfig,
    HeadConfig,
    MultiTaskClassifier,
    TextClassifier,
    TransformerEncoder,
)
from keras_transformer.optimizers.clipping import dense
from keras_transformer.training import DistributedModel, Recipe, preparation, run
from tests.training import fits
from tests.training.test_runner import tiny, write_table

LONGEST = 16
COUNT = 60


def make_rows(count=COUNT, seed=0):
    """Rows of 3 to 14 tokens."""
    random = np.random.default_rng(seed)
    lengths = random.integers(3, 15, count)
    return data.TokenRows(random.integers(1, 40, lengths.sum()), np.cumsum([0, *lengths]), np.arange(count))


def make_encoder(pooler):
    keras.utils.set_random_seed(3)
    return TransformerEncoder(
        EncoderConfig(
            vocabulary_size=40,
            hidden_dim=16,
            num_layers=2,
            max_length=LONGEST,
            dropout=0.0,
            attention=AttentionConfig(num_heads=2, dropout=0.0),
            feed_forward=FeedForwardConfig(intermediate_dim=32),
            initializer_range=0.2,
            pooler=pooler,
        )
    )


def make_model(pooling, outputs=3, kind="single_label", **options):
    model = TextClassifier(make_encoder(pooling == "first"), outputs, kind=kind, pooling=pooling, dropout=0.0)
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


def inputs_alone(rows, chosen):
    """Inputs of some texts, one a row."""
    ids = np.zeros((len(chosen), LONGEST), np.int32)
    for place, row in enumerate(chosen):
        ids[place, : rows.lengths[row]] = rows.row(row)
    return {"token_ids": ids, "segment_ids": np.zeros_like(ids), "padding_mask": (ids > 0).astype(np.int32)}


def unpacked(rows, labels, weights, plan, epoch):
    """The same texts in the same steps, one a row."""

    def batches():
        for step in range(plan.steps_per_epoch):
            chosen = plan.batch(epoch, step)[1]
            yield inputs_alone(rows, chosen), labels[chosen], weights[chosen]

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


HEADS = {"topic": HeadConfig(3), "tags": HeadConfig(4, "multi_label", "first"), "stars": HeadConfig(1, "regression")}


def make_tasks():
    """Rows, labels and weights (of mean one) of three tasks, and a mixture of packed rows of them."""
    random = np.random.default_rng(5)
    labels = {
        "topic": random.integers(0, 3, 40).astype("int32"),
        "tags": random.integers(0, 2, (24, 4)).astype("float32"),
        "stars": random.normal(size=30).astype("float32"),
    }
    tasks = {}
    for seed, (name, given) in enumerate(labels.items()):
        weights = random.uniform(0.5, 1.5, len(given))
        tasks[name] = (make_rows(len(given), seed), given, (weights / weights.mean()).astype("float32"))
    plans = {name: data.PackedPlan(rows.lengths, LONGEST, tokens_per_batch=64) for name, (rows, *_) in tasks.items()}
    return tasks, data.TaskMixture(plans, seed=1)


def make_multi_task(**options):
    """A model of all three tasks."""
    model = MultiTaskClassifier(make_encoder(pooler=True), HEADS, dropout=0.0)
    distributed = DistributedModel(model, {"topic": 6.0, "tags": 5.0, "stars": 4.0})
    distributed.compile(
        optimizers.create(model, 3e-3, 30, clip_norm=0.5),
        {name: losses.for_kind(head.kind) for name, head in HEADS.items()},
        weighted_metrics={"topic": [keras.metrics.SparseCategoricalAccuracy("topic_accuracy")]},
        loss_weights={"stars": 0.5},
        **options,
    )
    return distributed


def mixed_alone(tasks, mixture):
    """The batches of the first epoch of a mixture, one text a row, and whose they are."""
    for step in range(mixture.steps_per_epoch):
        task, _, chosen = mixture.batch(0, step)
        labels = {n: np.zeros((len(chosen), *given.shape[1:]), given.dtype) for n, (_, given, _) in tasks.items()}
        weights = {name: np.zeros(len(chosen), "float32") for name in tasks}
        rows, labels[task], weights[task] = tasks[task][0], tasks[task][1][chosen], tasks[task][2][chosen]
        yield task, (inputs_alone(rows, chosen), labels, weights)


def test_several_outputs_have_the_logits_and_gradients_of_texts_alone():
    tasks, mixture = make_tasks()
    model, seen = make_multi_task(), set()
    packed = data.make_mixed_dataset(tasks, mixture)
    for batch, (task, single) in zip(packed, mixed_alone(tasks, mixture), strict=True):
        if task in seen:
            continue
        seen.add(task)
        together, expected = model._gradients(batch), model._gradients(single)
        gradients = [np.array(dense(gradient)) for gradient in expected[0]]
        largest = max(np.abs(gradient).max() for gradient in gradients)
        for variable, found, gradient in zip(model.trainable_variables, together[0], gradients, strict=True):
            np.testing.assert_allclose(dense(found), gradient, rtol=0, atol=1e-5 * largest, err_msg=variable.path)
        assert len(single[0]["token_ids"]) > len(batch[0]["token_ids"]), "rows must be shared"
        for name, term in together[1].items():
            real = np.array(term.real) > 0
            np.testing.assert_allclose(np.array(term.predictions)[real], expected[1][name].predictions, atol=1e-5)
            assert (np.array(term.weights).sum() > 0) == (name == task)
    assert seen == set(HEADS)


def test_several_outputs_train_on_packed_rows_as_on_texts_alone():
    tasks, mixture = make_tasks()
    batches = [batch for _, batch in mixed_alone(tasks, mixture)]
    signature = tf.nest.map_structure(lambda x: tf.TensorSpec((None, *x.shape[1:]), x.dtype), batches[0])
    single = tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=signature)
    single = single.apply(tf.data.experimental.assert_cardinality(len(batches)))
    trained = []
    for dataset, eagerly in ((single, True), (data.make_mixed_dataset(tasks, mixture), False)):
        model = make_multi_task(run_eagerly=eagerly)
        before = {v.path: v.numpy() for v in model.trainable_variables}
        history = model.fit(dataset, verbose=0, shuffle=False).history
        trained.append((history, {v.path: v.numpy() for v in model.trainable_variables}))
    (expected, weights), (found, together) = trained
    assert {"loss", "topic_accuracy", *(f"{name}_loss" for name in HEADS)} == set(found)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-5, err_msg=name)
    for path, value in weights.items():
        if not path.endswith("key/bias"):  # softmax cancels it: its gradient is rounding
            assert np.abs(value - before[path]).max() > 1e-4, path
            np.testing.assert_allclose(together[path], value, rtol=0, atol=2e-5 * np.abs(value).max(), err_msg=path)


@pytest.mark.parametrize(
    ("change", "received"),
    [
        (lambda outputs: {"topic": outputs["topic"], "tags": outputs["tags"]}, "the outputs topic, tags"),
        (lambda outputs: outputs | {"stars": outputs["stars"][:, 0]}, r"the shape \(\d+, 1\)"),
    ],
    ids=["left-out", "of-whole-rows"],
)
def test_an_output_without_a_value_for_each_text_is_named(change, received, monkeypatch):
    tasks, mixture = make_tasks()
    model = make_multi_task(run_eagerly=True)
    packed = model.model.packed
    monkeypatch.setattr(MultiTaskClassifier, "packed", lambda _, *given, **options: change(packed(*given, **options)))
    message = rf"output 'stars' cannot be trained on packed rows: MultiTaskClassifier.packed .* Received: {received}"
    with pytest.raises(ValueError, match=message):
        model.evaluate(data.make_mixed_dataset(tasks, mixture).take(1), verbose=0)


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
