"""Several tasks over one encoder: the values of each head, shared weights, files, and training on a mixture."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_transformer import data, losses, pretrained
from keras_transformer.layers import AttentionConfig, FeedForwardConfig
from keras_transformer.models import (
    EncoderConfig,
    HeadConfig,
    MultiTaskClassifier,
    TextClassifier,
    TransformerEncoder,
    enable_lora,
    freeze,
    without_adapters,
)
from keras_transformer.optimizers import AdamW, variable_depths
from tests.helpers import HIDDEN, text_inputs, tiny_encoder
from tests.models.test_packing import alone, of_texts, packed

HEADS = {
    "topic": HeadConfig(3),
    "tags": HeadConfig(4, "multi_label", "first"),
    "stars": HeadConfig(1, "regression"),
}


def make(heads=HEADS, dropout=0.0, **config):
    return MultiTaskClassifier(tiny_encoder(**config), heads, dropout)


def test_every_head_equals_numpy():
    model, inputs = make(), text_inputs()
    outputs = model(inputs)
    assert set(outputs) == set(HEADS)
    sequence = np.array(model.encoder(inputs)["sequence_output"], "float64")
    mask = inputs["padding_mask"][:, :, None].astype("float64")
    pooled = {"mean": (sequence * mask).sum(1) / mask.sum(1), "first": sequence[:, 0]}
    for task, head in HEADS.items():
        dense = model.task_model(task).head
        expected = pooled[head.pooling] @ np.array(dense.kernel, "float64") + np.array(dense.bias)
        np.testing.assert_allclose(outputs[task], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pooler", [False, True])
def test_the_model_of_one_task_has_the_same_weights(pooler):
    model, inputs = make(pooler=pooler), text_inputs()
    for weight in model.weights:
        weight.assign_add(0.1 * np.random.default_rng(len(weight.path)).normal(size=weight.shape))
    for task, head in HEADS.items():
        alone_model = model.task_model(task)
        assert type(alone_model) is TextClassifier
        assert (alone_model.num_outputs, alone_model.kind, alone_model.pooling) == (
            head.num_outputs,
            head.kind,
            head.pooling,
        )
        np.testing.assert_allclose(alone_model(inputs)["logits"], model(inputs)[task], rtol=1e-5, atol=1e-5)
        assert {id(weight) for weight in alone_model.weights} <= {id(weight) for weight in model.weights}
        assert model.task_model(task) is alone_model
    heads = sum(head.num_outputs * (HIDDEN + 1) for head in HEADS.values())
    assert model.count_params() == model.encoder.count_params() + heads
    assert len({weight.path for weight in model.weights}) == len(model.weights)


def test_models_of_tasks_are_saved_alone(tmp_path):
    model, inputs = make(), text_inputs()
    model.save(tmp_path / "all.keras")
    expected = {task: np.array(logits) for task, logits in model(inputs).items()}
    loaded = keras.saving.load_model(tmp_path / "all.keras")
    for task in HEADS:
        np.testing.assert_array_equal(loaded(inputs)[task], expected[task])
        loaded.task_model(task).save(tmp_path / f"{task}.keras")
        again = keras.saving.load_model(tmp_path / f"{task}.keras")
        assert type(again) is TextClassifier
        np.testing.assert_allclose(again(inputs)["logits"], expected[task], rtol=1e-5, atol=1e-6)
    assert json.loads(json.dumps(model.get_config())) == json.loads(json.dumps(loaded.get_config()))


def test_a_task_goes_into_a_folder_of_hugging_face(tmp_path):
    model, inputs = make(), text_inputs()
    pretrained.save_huggingface(model.task_model("topic"), None, tmp_path / "topic")
    loaded = pretrained.load_classifier(tmp_path / "topic")
    np.testing.assert_allclose(loaded(inputs)["logits"], model(inputs)["topic"], rtol=1e-4, atol=1e-5)


def test_packed_texts_get_the_logits_that_they_get_alone():
    config = {"vocabulary_size": 60, "max_length": 16}
    model = make(**config)
    expected = model(alone())
    found = model.packed(packed(), num_texts=3)
    for task, head in HEADS.items():
        assert found[task].shape == (2, 3, head.num_outputs)
        np.testing.assert_allclose(of_texts(found[task]), expected[task], atol=1e-5)
    with pytest.raises(ValueError, match="without example_ids"):
        model.packed({name: value for name, value in packed().items() if name != "example_ids"}, num_texts=3)


def test_dropout_is_before_every_head():
    model, inputs = make(dropout=0.5), text_inputs()
    first, second = model(inputs, training=True), model(inputs, training=True)
    for task in HEADS:
        assert np.abs(np.array(first[task]) - np.array(second[task])).max() > 1e-3
        np.testing.assert_array_equal(model(inputs)[task], model(inputs)[task])


def test_it_is_adapted_as_other_models_are():
    model, inputs = make(), text_inputs()
    depths = variable_depths(model)
    assert {depths[f"{task}/head/kernel"] for task in HEADS} == {3}
    assert depths["embeddings/tokens/table"] == 0
    expected = model(inputs)
    enable_lora(model, rank=2)
    plain = without_adapters(model)
    assert type(plain) is MultiTaskClassifier
    for task in HEADS:
        np.testing.assert_allclose(plain(inputs)[task], expected[task], atol=1e-6)
    other = make()
    freeze(other, 2)
    paths = {variable.path for variable in other.trainable_variables}
    assert paths == {f"{task}/head/{part}" for task in HEADS for part in ("kernel", "bias")}


@pytest.mark.parametrize(
    ("heads", "message"),
    [
        ({}, "none"),
        ({"a task": HeadConfig(2)}, "'a task'"),
        ({1: HeadConfig(2)}, "Received: 1"),
        ({"topic": {"num_outputs": 1}}, "at least two outputs"),
        ({"topic": {"num_outputs": 3, "kind": "ranking"}}, "'ranking'"),
        ({"topic": {"num_outputs": 3, "pooling": "last"}}, "'last'"),
        ({"topic": {"num_outputs": 3, "polling": "mean"}}, "Did you mean 'pooling'"),
    ],
)
def test_wrong_heads_are_refused(heads, message):
    with pytest.raises(ValueError, match=message):
        make(heads)


def test_an_unknown_task_is_refused():
    with pytest.raises(ValueError, match=r"The tasks are topic, tags, stars\. Received: 'other'"):
        make().task_model("other")


# Training on a mixture


def synthetic_tasks(seed=0):
    """Which of two kinds of tokens a text has; and in other texts, the share of tokens of a third kind."""
    rng = np.random.default_rng(seed)
    parts = {}
    for task, number in (("kind", 160), ("count", 40)):
        texts, labels = [], []
        for _ in range(number):
            length, label = rng.integers(5, 12), rng.integers(2)
            text = rng.integers(2 + 8 * label, 10 + 8 * label, length)
            thirds = rng.random(length) < rng.random()
            texts.append(np.where(thirds, 20, text))
            labels.append(label if task == "kind" else thirds.mean())
        rows = data.TokenRows(np.concatenate(texts), np.cumsum([0, *map(len, texts)]), np.arange(number))
        parts[task] = (rows, np.array(labels, "int32" if task == "kind" else "float32"), None)
    return parts


def mixed(parts, temperature):
    plans = {
        task: data.BatchPlan(rows.lengths, (8, 12), tokens_per_batch=192, seed=1)
        for task, (rows, _, _) in parts.items()
    }
    return data.TaskMixture(plans, temperature, seed=2)


def model_of_both():
    config = EncoderConfig(
        vocabulary_size=24,
        hidden_dim=32,
        num_layers=1,
        max_length=12,
        dropout=0.0,
        attention=AttentionConfig(num_heads=2, dropout=0.0),
        feed_forward=FeedForwardConfig(32),
    )
    heads = {"kind": HeadConfig(2), "count": HeadConfig(1, "regression")}
    return MultiTaskClassifier(TransformerEncoder(config), heads, dropout=0.0)


def measure(model, parts):
    """Accuracy of the one task and squared error of the other, on texts of its own."""
    outputs = {}
    for task, (rows, _, _) in parts.items():
        outputs[task] = data.predict_in_order(
            lambda batches, task=task: np.concatenate([model(inputs)[task] for inputs in batches]), rows
        )
    accuracy = (outputs["kind"].argmax(1) == parts["kind"][1]).mean()
    return accuracy, ((outputs["count"][:, 0] - parts["count"][1]) ** 2).mean()


def test_a_mixture_trains_both_tasks_in_the_shares_asked_for():
    parts, unseen = synthetic_tasks(), synthetic_tasks(seed=1)
    mixture = mixed(parts, temperature=4.0)
    model, optimizer = model_of_both(), AdamW(3e-3)
    optimizer.build(model.trainable_variables)
    kinds = {"kind": losses.for_kind("single_label"), "count": losses.for_kind("regression")}
    seen = dict.fromkeys(parts, 0.0)

    @tf.function(reduce_retracing=True)
    def step(inputs, labels, weights):
        with tf.GradientTape() as tape:
            logits = model(inputs, training=True)
            total = 0.0
            for task, loss in kinds.items():
                total += tf.reduce_sum(loss.call(labels[task], logits[task]) * weights[task])
            total /= tf.add_n([tf.reduce_sum(weights[task]) for task in kinds])
        gradients = tape.gradient(total, [variable.value for variable in model.trainable_variables])
        optimizer.apply(gradients, model.trainable_variables)

    for epoch in range(16):
        for inputs, labels, weights in data.make_mixed_dataset(parts, mixture, epoch):
            step(inputs, labels, weights)
            for task in parts:
                seen[task] += float(tf.math.count_nonzero(weights[task]))
    share = seen["count"] / sum(seen.values())
    assert share == pytest.approx(40**0.25 / (40**0.25 + 160**0.25), abs=0.02)
    accuracy, error = measure(model, unseen)
    variance = unseen["count"][1].var()
    assert accuracy > 0.9
    assert error < 0.3 * variance


def test_fit_takes_the_batches_of_a_mixture():
    parts = synthetic_tasks()
    mixture = mixed(parts, temperature=1.0)
    model = model_of_both()
    model.default_compile(learning_rate=3e-3)
    before = {variable.path: np.array(variable) for variable in model.trainable_variables}
    history = model.fit(data.make_mixed_dataset(parts, mixture), verbose=0).history
    assert {"loss", "kind_loss", "count_loss", "kind_accuracy", "count_rmse"} <= set(history)
    for task in parts:
        assert (before[f"{task}/head/kernel"] != np.array(model.task_model(task).head.kernel)).any()


def test_a_batch_of_one_task_leaves_the_heads_of_the_others_alone():
    parts = synthetic_tasks()
    model = model_of_both()
    mixture = mixed(parts, temperature=1.0)
    task = mixture.tasks[mixture.schedule(0)[0][0]]
    other = next(name for name in parts if name != task)
    model.default_compile(optimizer=keras.optimizers.SGD(0.1))
    kernels = {name: np.array(model.task_model(name).head.kernel) for name in parts}
    model.fit(data.make_mixed_dataset(parts, mixture).take(1), verbose=0)
    np.testing.assert_array_equal(model.task_model(other).head.kernel, kernels[other])
    assert (np.array(model.task_model(task).head.kernel) != kernels[task]).any()


def test_metrics_count_only_the_examples_of_their_task():
    parts = synthetic_tasks()
    model = model_of_both()
    model.default_compile()
    # At temperature 1 an epoch of the mixture has every text once.
    found = model.evaluate(data.make_mixed_dataset(parts, mixed(parts, temperature=1.0)), return_dict=True, verbose=0)
    accuracy, error = measure(model, parts)
    assert found["kind_accuracy"] == pytest.approx(accuracy, abs=1e-6)
    assert found["count_rmse"] == pytest.approx(error**0.5, rel=1e-4)


def test_logits_are_float32_under_every_policy():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = make()
    assert model.encoder.output["sequence_output"].dtype == "bfloat16"
    assert {output.dtype for output in model.outputs} == {"float32"}
