"""Several outputs with a loss each: gradient and metrics against NumPy in float64, and the mistakes one can make."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_transformer import losses
from keras_transformer.training import DistributedModel

SIZES = {"kind": 3, "value": 2}
PER_STEP = {"kind": 4.0, "value": 2.5}
SIZES_OF_BATCHES = (6, 3, 1)
SHARES = {"kind": 1.0, "value": 0.25}


def make_model():
    """Two linear outputs of the same inputs: their gradients are known in closed form."""
    keras.utils.set_random_seed(2)
    inputs = keras.Input((5,))
    outputs = {name: keras.layers.Dense(n, use_bias=False, name=name)(inputs) for name, n in SIZES.items()}
    return keras.Model(inputs, outputs)


def make_batch(count, seed):
    random = np.random.default_rng(seed)
    labels = {"kind": random.integers(0, 3, count).astype("int32"), "value": random.random((count, 2), "float32")}
    weights = {name: random.random(count, "float32") * (random.random(count) < 0.7) for name in SIZES}
    weights = {name: weight.astype("float32") for name, weight in weights.items()}
    return random.random((count, 5), "float32"), labels, weights


def make_distributed(**options):
    distributed = DistributedModel(make_model(), PER_STEP)
    distributed.compile(
        keras.optimizers.SGD(1.0),
        {"kind": losses.for_kind("single_label"), "value": losses.for_kind("regression")},
        metrics={"kind": [keras.metrics.SparseCategoricalAccuracy("kind_accuracy")]},
        weighted_metrics={"value": [keras.metrics.RootMeanSquaredError("value_rmse")]},
        **{"loss_weights": {"value": SHARES["value"]}} | options,
    )
    return distributed


def reference(kernels, inputs, labels):
    """Losses of the examples, and the gradient of each example's loss by the kernel, in float64."""
    x = inputs.astype("float64")
    z = x @ kernels["kind"]
    p = np.exp(z - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    hot = np.eye(3)[labels["kind"]]
    error = x @ kernels["value"] - labels["value"]
    each = {"kind": -np.log((p * hot).sum(1)), "value": (error**2).mean(1)}
    gradients = {"kind": x[:, :, None] * (p - hot)[:, None], "value": x[:, :, None] * error[:, None]}
    return each, gradients


def test_the_gradient_is_that_of_the_sum_of_all_losses():
    distributed = make_distributed()
    inputs, labels, weights = make_batch(6, seed=0)
    before = {name: distributed.model.get_layer(name).kernel.numpy().astype("float64") for name in SIZES}
    distributed.train_on_batch(inputs, labels, weights)
    _, gradients = reference(before, inputs, labels)
    for name in SIZES:
        expected = SHARES[name] * np.einsum("b,bij->ij", weights[name], gradients[name]) / PER_STEP[name]
        moved = before[name] - distributed.model.get_layer(name).kernel.numpy()
        np.testing.assert_allclose(moved, expected, atol=1e-6, err_msg=name)


def test_losses_and_metrics_are_exact_means_over_unequal_batches():
    distributed = make_distributed(batch_loss=True)
    kernels = {name: distributed.model.get_layer(name).kernel.numpy().astype("float64") for name in SIZES}
    sums = {name: np.zeros(2) for name in SIZES}
    hits, squares = [], np.zeros(2)
    for seed, count in enumerate(SIZES_OF_BATCHES):
        inputs, labels, weights = make_batch(count, seed)
        each, _ = reference(kernels, inputs, labels)
        found = distributed.test_on_batch(inputs, labels, weights, return_dict=True)
        alone = {n: np.array([(weights[n] * each[n]).sum(), weights[n].sum()]) for n in SIZES}
        expected = sum(SHARES[n] * alone[n][0] / alone[n][1] for n in SIZES if alone[n][1])
        assert float(found["batch_loss"]) == pytest.approx(expected, rel=1e-5)
        for name in SIZES:
            sums[name] += alone[name]
        hits += ((inputs @ kernels["kind"]).argmax(1) == labels["kind"]).tolist()
        # Keras counts the weight of an example once for each of its two values.
        squares += [(weights["value"] * each["value"]).sum(), weights["value"].sum()]
    parts = [make_batch(count, seed) for seed, count in enumerate(SIZES_OF_BATCHES)]
    signature = tf.nest.map_structure(lambda x: tf.TensorSpec((None, *x.shape[1:]), x.dtype), parts[0])
    read = tf.data.Dataset.from_generator(lambda: iter(parts), output_signature=signature)
    found = distributed.evaluate(read, return_dict=True, verbose=0)
    means = {name: total / count for name, (total, count) in sums.items()}
    assert float(found["kind_loss"]) == pytest.approx(means["kind"], rel=1e-5)
    assert float(found["value_loss"]) == pytest.approx(means["value"], rel=1e-5)
    assert float(found["loss"]) == pytest.approx(sum(SHARES[n] * means[n] for n in SIZES), rel=1e-5)
    assert float(found["kind_accuracy"]) == pytest.approx(np.mean(hits), rel=1e-6)
    assert float(found["value_rmse"]) == pytest.approx(np.sqrt(squares[0] / squares[1]), rel=1e-5)


def test_the_loss_of_a_batch_is_given_only_when_asked_for():
    inputs, labels, weights = make_batch(4, seed=1)
    assert "batch_loss" not in make_distributed().test_on_batch(inputs, labels, weights, return_dict=True)


def test_a_training_lowers_all_losses():
    inputs, labels, weights = make_batch(64, seed=5)
    distributed = make_distributed()
    history = distributed.fit(inputs, labels, sample_weight=weights, batch_size=8, epochs=20, verbose=0).history
    for name in ("kind_loss", "value_loss", "loss"):
        assert history[name][-1] < 0.9 * history[name][0], name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": losses.for_kind("single_label")}, "one loss for each output"),
        ({"loss": {"kind": losses.for_kind("single_label")}}, "one loss for each output"),
        ({"loss": {"kind": losses.for_kind("single_label"), "value": "mse"}}, "must be a keras.losses.Loss"),
        ({"loss_weights": {"other": 1.0}}, "loss_weights names an output that has no loss.*other"),
        ({"metrics": [keras.metrics.Mean("m")]}, "metrics must be a dict by output"),
    ],
)
def test_mistakes_are_refused(options, message):
    given = {"loss": {"kind": losses.for_kind("single_label"), "value": losses.for_kind("regression")}} | options
    with pytest.raises(ValueError, match=message):
        DistributedModel(make_model(), PER_STEP).compile("sgd", **given)


def test_numbers_of_examples_are_checked():
    with pytest.raises(ValueError, match="above 0"):
        DistributedModel(make_model(), {"kind": 4.0, "value": 0.0})
    with pytest.raises(ValueError, match="above 0"):
        DistributedModel(make_model(), {})
