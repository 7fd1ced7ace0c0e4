import json
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_transformer import losses, optimizers
from keras_transformer.training.distributed import DistributedModel

RUN = pathlib.Path(__file__).with_name("distributed_run.py")
CLIP_NORM = 0.02  # as in distributed_run.py
SHAPE = (6, 3)  # inputs and classes of the small model


def _two_replicas(folder, *arguments):
    done = subprocess.run(
        [sys.executable, str(RUN), str(folder), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=900,
        cwd=RUN.parents[2],
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(np.load(folder / "one_device.npz")), dict(np.load(folder / "mirrored.npz"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("distributed")


@pytest.fixture(scope="module")
def runs(folder):
    return _two_replicas(folder, 200)


def _assert_same_weights(one, two):
    """Every variable within 1e-5 of its largest value."""
    for name in (n for n in one if n.startswith("weights/")):
        if name.endswith("key/bias"):
            # Softmax cancels this bias: its gradient is 0 and what it holds is rounding.
            assert max(np.abs(one[name]).max(), np.abs(two[name]).max()) < 1e-5
        else:
            np.testing.assert_allclose(two[name], one[name], rtol=0, atol=1e-5 * np.abs(one[name]).max(), err_msg=name)


def test_two_replicas_train_as_one_device_does(runs):
    one, two = runs
    assert len(one["losses"]) == 200
    assert min(one["norms"].min(), two["norms"].min()) > CLIP_NORM, "clipping must be active at every step"
    assert one["losses"][-20:].mean() < 0.8 * one["losses"][:20].mean(), "the comparison needs weights that move"
    np.testing.assert_allclose(two["losses"], one["losses"], rtol=1e-5)
    np.testing.assert_allclose(two["norms"], one["norms"], rtol=1e-5)
    _assert_same_weights(one, two)


@pytest.mark.parametrize("devices", ["one_device", "mirrored"])
def test_batches_that_are_added_up_train_as_one_large_batch(devices, runs, folder):
    large, added = (dict(np.load(folder / f"{name}.npz")) for name in ("at_once", f"accumulated_{devices}"))
    assert_trained_as_at_once(large, added)


def assert_trained_as_at_once(large, added):
    """Twelve updates in both, of seven batches an epoch; all clipped after the sum."""
    assert (large["steps"], added["steps"]) == (12, 28)
    assert large["updates"] == added["updates"] == 12
    assert large["norm"] > CLIP_NORM
    np.testing.assert_allclose(added["norm"], large["norm"], rtol=1e-5)
    moved = [
        np.abs(large[n] - large[n.replace("weights/", "before/")]).max() for n in large if n.startswith("weights/")
    ]
    assert np.median(moved) > 5e-3
    _assert_same_weights(large, added)


def test_frozen_layers_adapters_and_averages_are_those_of_one_device(runs, folder):
    one, two = (dict(np.load(folder / f"partly_{name}.npz")) for name in ("one_device", "mirrored"))
    _assert_same_weights(one, two)
    names = {n.removeprefix("before/") for n in one if n.startswith("before/")}
    moved = {n for n in names if not np.array_equal(two[f"weights/{n}"], two[f"before/{n}"])}
    adapters = {n for n in names if "lora" in n}
    assert len(adapters) == 8
    assert moved == adapters | {"head/kernel", "head/bias"}
    means = {n.removeprefix("weights/mean/") for n in two if n.startswith("weights/mean/")}
    assert means == moved
    assert not any(np.array_equal(two[f"weights/{n}"], two[f"weights/mean/{n}"]) for n in means)


def test_several_losses_are_those_of_one_device(runs, folder):
    one, two = (dict(np.load(folder / f"several_{name}.npz")) for name in ("one_device", "mirrored"))
    assert len(one["batch_losses"]) == 12
    assert {"history/loss", "history/kind_loss", "history/value_loss", "history/accuracy"} <= set(one)
    for name in one:
        np.testing.assert_allclose(two[name], one[name], rtol=1e-5, atol=1e-6, err_msg=name)


def test_packed_rows_are_trained_on_as_on_one_device(runs, folder):
    one, two = (dict(np.load(folder / f"packed_{name}.npz")) for name in ("one_device", "mirrored"))
    assert len(one["losses"]) > 15
    for name in one:
        if not name.endswith("key/bias"):
            largest = np.abs(one[name]).max()
            np.testing.assert_allclose(two[name], one[name], rtol=0, atol=2e-5 * largest, err_msg=name)


def test_metrics_are_those_of_the_whole_batch_on_two_replicas(runs):
    one, two = runs
    for name in (n for n in one if n.startswith(("measured/", "history/"))):
        np.testing.assert_allclose(two[name], one[name], rtol=1e-5, err_msg=name)


def test_evaluation_equals_a_float64_reference_on_two_replicas(runs):
    sys.path.insert(0, str(RUN.parent))
    try:
        from distributed_run import batches
    finally:
        sys.path.remove(str(RUN.parent))
    held_out = batches(6, seed=1)
    labels, weights = (np.concatenate([part[i] for part in held_out]) for i in (1, 2))
    assert any(len(part[1]) == 1 for part in held_out), "one batch must leave a replica without a share"
    for run in runs:
        z = run["logits"].astype("float64")
        log_p = z - np.log(np.exp(z).sum(1, keepdims=True))
        loss = -(0.9 * log_p[np.arange(len(z)), labels] + 0.1 * log_p.mean(1))
        hit = z.argmax(1) == labels
        np.testing.assert_allclose(run["measured/loss"], np.average(loss, weights=weights), rtol=1e-5)
        np.testing.assert_allclose(run["measured/accuracy"], hit.mean(), rtol=1e-6)
        np.testing.assert_allclose(run["measured/weighted_accuracy"], np.average(hit, weights=weights), rtol=1e-6)


def test_predictions_of_two_replicas_come_in_order(runs):
    one, two = runs
    np.testing.assert_allclose(two["logits"], one["logits"], rtol=1e-4, atol=1e-5)


def test_training_leaves_the_callers_arrays_alone(runs):
    assert all(run["data_intact"] for run in runs)


def assert_independent(first, second):
    """Half of 10,000 decisions agree, within five standard deviations."""
    assert abs((first == second).mean() - 0.5) < 0.025


def test_replicas_drop_different_values(runs, folder):
    masks = np.load(folder / "dropped.npz")
    (one,), two = masks["one"], masks["two"]
    np.testing.assert_array_equal(two[0], one, err_msg="the first replica draws what a single one does")
    for call in range(2):
        assert_independent(two[0, call], two[1, call])
        assert_independent(two[call, 0], two[call, 1])
    np.testing.assert_allclose(two.mean(-1), 0.5, atol=0.025)


def test_what_does_not_work_on_two_replicas_is_refused(runs, folder):
    messages = json.loads((folder / "refusals.json").read_text())
    assert messages.pop("fine") == "no error"
    expected = {
        "keras clipping": "Use keras_transformer.optimizers.AdamW. Received: Adam",
        "accumulation": "Received: gradient_accumulation_steps=2",
        "xla": "Received: jit_compile=True",
        "collectives in a loop": "Received: steps_per_execution=2",
        "optimizer outside": "inside `with strategy.scope():`. Received: 2 variables",
        "metric outside": "inside `with strategy.scope():`. Received: 2 variables",
        "model outside": "inside `with strategy.scope():`. Received: 2 variables",
    }
    assert set(messages) == set(expected)
    for name, part in expected.items():
        assert part in messages[name], name


@pytest.mark.slow
def test_two_replicas_take_several_steps_at_once(tmp_path):
    one, two = _two_replicas(tmp_path, 40, 4)
    assert len(one["losses"]) == 40
    assert len(two["losses"]) == 12, "the ten steps of an epoch go by four, four and two"
    _assert_same_weights(one, two)
    np.testing.assert_allclose(two["measured/loss"], one["measured/loss"], rtol=1e-5)


def _data(seed=0, size=12):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(size, SHAPE[0])).astype("float32")
    return x, rng.integers(0, SHAPE[1], size), rng.uniform(0.2, 2.0, size).astype("float32")


def _linear(seed=0, **options):
    """Returns a model whose gradient is known in closed form."""
    keras.utils.set_random_seed(seed)
    model = keras.Sequential([keras.Input(SHAPE[:1]), keras.layers.Dense(SHAPE[1], bias_initializer="ones", **options)])
    return model


def _distributed(model, examples_per_step=8.0, optimizer=None, **options):
    distributed = DistributedModel(model, examples_per_step)
    distributed.compile(optimizer or keras.optimizers.SGD(1.0), losses.for_kind("single_label"), **options)
    return distributed


def _dataset(*batches):
    return tf.data.Dataset.from_generator(
        lambda: iter(batches),
        output_signature=tuple(tf.TensorSpec((None, *part.shape[1:]), part.dtype) for part in batches[0]),
    ).apply(tf.data.experimental.assert_cardinality(len(batches)))


def _step(data, examples_per_step=8.0):
    """Returns how one step of SGD at rate 1 moves the weights: minus the gradient."""
    model = _linear()
    before = [w.copy() for w in model.get_weights()]
    _distributed(model, examples_per_step).fit(_dataset(data), verbose=0, shuffle=False)
    return [after - start for after, start in zip(model.get_weights(), before, strict=True)]


def test_the_gradient_is_the_weighted_sum_over_a_constant():
    x, labels, weights = _data()
    kernel, bias = _linear().get_weights()
    z = x.astype("float64") @ kernel + bias
    error = np.exp(z) / np.exp(z).sum(1, keepdims=True) - np.eye(SHAPE[1])[labels]
    error = error * weights[:, None] / 8.0
    moved = _step((x, labels, weights))
    np.testing.assert_allclose(moved[0], -x.T.astype("float64") @ error, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(moved[1], -error.sum(0), rtol=1e-4, atol=1e-6)


def test_one_batch_of_twelve_equals_the_sum_of_unequal_batches():
    x, labels, weights = _data()
    whole = _step((x, labels, weights))
    parts = [_step((x[a:b], labels[a:b], weights[a:b])) for a, b in ((0, 5), (5, 6), (6, 12))]
    for position, moved in enumerate(whole):
        np.testing.assert_allclose(moved, sum(part[position] for part in parts), rtol=1e-4, atol=1e-6)


def test_the_gradient_of_an_example_does_not_depend_on_the_size_of_its_batch():
    x, labels, weights = _data()
    others = weights * (np.arange(12) == 4)  # a batch of twelve in which only one example has weight
    alone = _step((x[4:5], labels[4:5], weights[4:5]))
    for a, b in zip(_step((x, labels, others)), alone, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_examples_per_step_divides_the_gradient():
    whole, half = _step(_data(), examples_per_step=4.0), _step(_data(), examples_per_step=8.0)
    for a, b in zip(whole, half, strict=True):
        np.testing.assert_allclose(a, 2 * b, rtol=1e-5, atol=1e-7)


def test_regularisation_is_not_scaled_by_the_batch():
    x, labels, weights = _data()
    model = _linear(kernel_regularizer=keras.regularizers.L2(0.5))
    before = model.get_weights()[0]
    _distributed(model).fit(_dataset((x, labels, weights * 0)), verbose=0, shuffle=False)
    np.testing.assert_allclose(model.get_weights()[0], before - before, atol=1e-6)  # the gradient of 0.5 w^2 is w


def test_loss_and_metrics_are_exact_means_over_unequal_batches():
    parts = [_data(seed, size) for seed, size in ((0, 12), (1, 1), (2, 5))]
    model = _linear()
    distributed = _distributed(
        model,
        metrics=[keras.metrics.SparseCategoricalAccuracy("accuracy")],
        weighted_metrics=[keras.metrics.SparseCategoricalAccuracy("weighted")],
    )
    measured = distributed.evaluate(_dataset(*parts), return_dict=True, verbose=0)
    x, labels, weights = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    kernel, bias = model.get_weights()
    z = x.astype("float64") @ kernel + bias
    loss = np.log(np.exp(z).sum(1)) - z[np.arange(len(z)), labels]
    hit = z.argmax(1) == labels
    np.testing.assert_allclose(measured["loss"], np.average(loss, weights=weights), rtol=1e-5)
    np.testing.assert_allclose(measured["accuracy"], hit.mean(), rtol=1e-6)
    np.testing.assert_allclose(measured["weighted"], np.average(hit, weights=weights), rtol=1e-6)


@pytest.mark.parametrize("options", [{"steps_per_execution": 3}, {"run_eagerly": True}, {"jit_compile": True}], ids=str)
def test_the_way_steps_are_run_does_not_change_the_result(options):
    parts = [_data(seed, 6) for seed in range(4)]
    weights = []
    for chosen in ({}, options):
        model = _linear()
        optimizer = optimizers.create(model, 0.1, 8, clip_norm=0.05)
        history = _distributed(model, optimizer=optimizer, **chosen).fit(
            _dataset(*parts), epochs=2, verbose=0, shuffle=False
        )
        weights.append([*model.get_weights(), np.array(history.history["loss"])])
    for a, b in zip(*weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_the_model_stays_as_it_is_and_holds_what_was_trained(tmp_path):
    model = _linear()
    names, kind = [v.path for v in model.variables], type(model)
    distributed = _distributed(model)
    assert distributed.model is model
    x, labels, weights = _data()
    before = model.predict(x, verbose=0)
    distributed.fit(x, labels, sample_weight=weights, epochs=2, verbose=0)
    assert type(model) is kind
    assert not model.compiled
    assert [v.path for v in model.variables] == names
    model.save(tmp_path / "model.keras")
    saved = keras.models.load_model(tmp_path / "model.keras").predict(x, verbose=0)
    np.testing.assert_array_equal(saved, distributed.predict(x, verbose=0))
    assert np.abs(saved - before).max() > 0.01


def test_data_without_weights_counts_every_example_once():
    x, labels, _ = _data()
    weighted, plain = _step((x, labels, np.ones(12, "float32"))), _step((x, labels))
    for a, b in zip(weighted, plain, strict=True):
        np.testing.assert_array_equal(a, b)


def test_survives_its_config():
    distributed = DistributedModel(_linear(), 7.5, name="wrapped")
    again = DistributedModel.from_config(json.loads(json.dumps(distributed.get_config())))
    assert (again.examples_per_step, again.output_key, again.name) == (7.5, "logits", "wrapped")
    assert again(np.zeros((2, SHAPE[0]))).shape == (2, SHAPE[1])


def test_mistakes_are_refused_where_they_are_made():
    with pytest.raises(ValueError, match=r"examples_per_step must be a number above 0. Received: 0"):
        DistributedModel(_linear(), 0)
    with pytest.raises(ValueError, match="Received: 'unbuilt', which is not built"):
        DistributedModel(keras.Sequential([keras.layers.Dense(1)], name="unbuilt"), 8)
    distributed = DistributedModel(_linear(), 8)
    with pytest.raises(ValueError, match=r"loss must be a keras.losses.Loss. Received: 'mse'"):
        distributed.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"Metric objects. Received: 'accuracy'"):
        distributed.compile("sgd", losses.for_kind("single_label"), metrics=["accuracy"])
    x, labels, weights = _data()
    with pytest.raises(ValueError, match="one value per weight"):
        _distributed(_linear(), run_eagerly=True).fit(x, labels, sample_weight=weights[:, None], verbose=0)
