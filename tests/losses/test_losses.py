import json

import keras
import numpy as np
import pytest
import tensorflow as tf
import torch

from keras_transformer import losses


def _logits(shape=(12, 5), scale=3.0):
    return (scale * np.random.default_rng(0).normal(size=shape)).astype("float32")


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.4])
def test_single_label_equals_torch(smoothing):
    logits, labels = _logits(), np.arange(12) % 5
    ours = losses.for_kind("single_label", smoothing)
    theirs = torch.nn.functional.cross_entropy(
        torch.tensor(logits), torch.tensor(labels), label_smoothing=smoothing, reduction="none"
    )
    np.testing.assert_allclose(ours.call(labels, logits), theirs.numpy(), rtol=1e-5)
    np.testing.assert_allclose(ours.call(labels[:, None], logits), theirs.numpy(), rtol=1e-5)
    np.testing.assert_allclose(float(ours(labels, logits)), float(theirs.mean()), rtol=1e-5)


def test_single_label_gradient_equals_softmax_minus_the_smoothed_target():
    logits, labels = tf.constant(_logits()), np.arange(12) % 5
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = tf.reduce_sum(losses.for_kind("single_label", 0.2).call(labels, logits))
    target = 0.8 * np.eye(5)[labels] + 0.2 / 5
    exact = np.exp(logits.numpy().astype("float64"))
    exact = exact / exact.sum(1, keepdims=True) - target
    np.testing.assert_allclose(tape.gradient(loss, logits), exact, atol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_multi_label_equals_a_float64_reference(smoothing):
    logits = _logits()
    labels = np.random.default_rng(1).integers(0, 2, logits.shape).astype("float32")
    z, t = logits.astype("float64"), labels * (1 - smoothing) + smoothing / 2
    exact = (np.log1p(np.exp(z)) - t * z).mean(1)
    np.testing.assert_allclose(losses.for_kind("multi_label", smoothing).call(labels, logits), exact, rtol=1e-5)


def test_regression_is_the_mean_squared_error():
    values, predictions = _logits((4, 2)), _logits((4, 2), 1.0)
    exact = ((values.astype("float64") - predictions) ** 2).mean(1)
    np.testing.assert_allclose(losses.for_kind("regression").call(values, predictions), exact, rtol=1e-6)
    one = losses.for_kind("regression").call(values[:, 0], predictions[:, :1])
    np.testing.assert_allclose(one, (values[:, 0] - predictions[:, 0]) ** 2, rtol=1e-6)


@pytest.mark.parametrize("kind", ["single_label", "multi_label", "regression"])
def test_weights_multiply_the_loss_of_an_example(kind):
    logits = _logits((6, 3))
    labels = np.arange(6) % 3 if kind == "single_label" else (_logits((6, 3)) > 0).astype("float32")
    weights = np.array([0, 1, 2, 0.5, 1, 3], "float32")
    loss = losses.for_kind(kind)
    expected = float(np.sum(weights * np.array(loss.call(labels, logits))) / 6)
    np.testing.assert_allclose(float(loss(labels, logits, sample_weight=weights)), expected, rtol=1e-6)


@pytest.mark.parametrize("kind", ["single_label", "multi_label", "regression"])
def test_low_precision_logits_are_reduced_in_float32(kind):
    logits = tf.cast(_logits((8, 40)), tf.bfloat16)
    labels = np.arange(8) if kind == "single_label" else (_logits((8, 40)) > 0).astype("float32")
    loss = losses.for_kind(kind)
    result = loss.call(labels, logits)
    assert result.dtype == "float32"
    np.testing.assert_array_equal(result, loss.call(labels, tf.cast(logits, tf.float32)))


def test_extreme_logits_stay_finite():
    logits = np.array([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0]], "float32")
    assert np.isfinite(losses.for_kind("single_label", 0.1).call(np.array([1, 1]), logits)).all()
    assert np.isfinite(losses.for_kind("multi_label", 0.1).call(np.eye(3, dtype="float32")[:2], logits)).all()


@pytest.mark.parametrize("loss", [losses.for_kind("multi_label", 0.2), losses.for_kind("regression")])
def test_survives_json(loss):
    again = keras.losses.deserialize(json.loads(json.dumps(keras.losses.serialize(loss))))
    assert type(again) is type(loss)
    assert again.get_config() == loss.get_config()


def test_labels_that_would_be_broadcast_are_refused():
    with pytest.raises(ValueError, match=r"not one-hot rows. Received: labels of shape \(4, 3\)"):
        losses.for_kind("single_label")(np.eye(4, 3), np.zeros((4, 3)))
    with pytest.raises(ValueError, match=r"one value per output. Received: labels of shape \(4,\)"):
        losses.for_kind("multi_label")(np.zeros(4), np.zeros((4, 3)))
    with pytest.raises(ValueError, match=r"one value per output. Received: labels of shape \(3, 1\)"):
        losses.for_kind("regression")(np.zeros((3, 1)), np.zeros((3, 3)))


def test_unknown_kinds_and_smoothing_out_of_range_are_refused():
    with pytest.raises(ValueError, match="Received: 'ranking'"):
        losses.for_kind("ranking")
    with pytest.raises(ValueError, match="Received: 'regression'"):
        losses.ClassificationLoss("regression")
    with pytest.raises(ValueError, match=r"Received: 1.0"):
        losses.for_kind("single_label", 1.0)
    with pytest.raises(ValueError, match=r"no labels to smooth. Received: label_smoothing=0.1"):
        losses.for_kind("regression", 0.1)


def test_every_token_has_a_loss_of_its_own():
    logits = _logits((3, 4, 5))
    labels = np.arange(12).reshape(3, 4) % 5
    z = logits.astype("float64")
    exact = np.log(np.exp(z).sum(-1)) - np.take_along_axis(z, labels[..., None], -1)[..., 0]
    np.testing.assert_allclose(losses.for_kind("single_label").call(labels, logits), exact, rtol=1e-5)
    one = losses.for_kind("single_label").call(labels[:, :1], logits[:, :1])  # one token is not one label
    np.testing.assert_allclose(one, exact[:, :1], rtol=1e-5)


def test_binary_loss_has_a_value_for_each_logit():
    logits, labels = _logits((3, 4)), np.arange(12).reshape(3, 4) % 2
    z = logits.astype("float64")
    exact = np.where(labels, np.log1p(np.exp(-z)), np.log1p(np.exp(z)))
    np.testing.assert_allclose(losses.BinaryLoss().call(labels, logits), exact, rtol=1e-5)
    half = losses.BinaryLoss(reduction=None)(labels, tf.cast(logits, tf.bfloat16), sample_weight=np.full((3, 4), 0.5))
    assert half.dtype == "float32"
    np.testing.assert_allclose(half, exact / 2, atol=0.02)
    assert np.isfinite(losses.BinaryLoss().call(np.array([0, 1]), np.array([1e4, -1e4]))).all()
    with pytest.raises(ValueError, match=r"to each logit. Received: labels of shape \(3,\), logits of shape \(3, 4\)"):
        losses.BinaryLoss().call(labels[:, 0], logits)
    with pytest.raises(ValueError, match=r"to each logit. Received: labels of shape \(3, 1\)"):
        losses.BinaryLoss().call(labels[:, :1], logits)
