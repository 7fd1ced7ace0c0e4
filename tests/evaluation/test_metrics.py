"""metrics.json: the parts come from the right data, and nothing is learned from the test part."""

import json

import numpy as np
import pytest
from scipy.special import expit, softmax

from keras_transformer import evaluation


def part(seed, n=400, factor=3.0):
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < 0.4).astype(int)
    logits = (rng.normal(size=(n, 2)) + 1.0 * np.eye(2)[labels]) * factor
    return {"logits": logits, "labels": labels, "lengths": rng.integers(1, 700, n)}


@pytest.fixture(scope="module")
def metrics():
    validation, test, uncleaned = part(0), part(1), part(2)
    baseline = {"validation": np.full((400, 2), 0.5), "test": softmax(np.roll(test["logits"], 1, axis=0), axis=1)}
    result = evaluation.make_metrics(
        validation, test, class_names=["negative", "positive"], baseline=baseline, uncleaned=uncleaned
    )
    return result, validation, test, uncleaned, baseline


def test_the_shape_is_the_documented_one(metrics):
    result = metrics[0]
    assert list(result) == ["kind", "class_names", "temperature", "threshold", "validation", "test"]
    assert list(result["test"]) == ["model", "baseline", "difference", "uncleaned"]
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_temperature_and_threshold_come_from_validation(metrics):
    result, validation, test, _, _ = metrics
    temperature = evaluation.fit_temperature(validation["logits"], validation["labels"])
    assert result["temperature"] == temperature > 1.5
    threshold = evaluation.choose_threshold(softmax(validation["logits"], axis=1)[:, 1], validation["labels"])
    assert result["threshold"]["value"] == pytest.approx(threshold)
    assert result["test"]["model"]["at_threshold"]["threshold"] == pytest.approx(threshold)
    calibration = result["test"]["model"]["calibration"]
    after = evaluation.expected_calibration_error(softmax(test["logits"] / temperature, axis=1), test["labels"])
    assert calibration["ece_after"] == pytest.approx(after)
    assert calibration["ece_after"] < calibration["ece_before"]
    assert calibration["log_loss_after"] < calibration["log_loss_before"]
    other = evaluation.make_metrics(validation, part(9), class_names=["negative", "positive"])
    assert (other["temperature"], other["threshold"]) == (result["temperature"], result["threshold"])


def test_difference_is_paired_on_the_test_part(metrics):
    result, _, test, uncleaned, baseline = metrics
    right = test["logits"].argmax(1) == test["labels"]
    other = baseline["test"].argmax(1) == test["labels"]
    difference = result["test"]["difference"]
    assert difference["difference"] == pytest.approx(right.mean() - other.mean())
    assert difference["low"] < difference["difference"] < difference["high"]
    assert difference["mcnemar"] == evaluation.mcnemar(right, other)
    expected = (uncleaned["logits"].argmax(1) == uncleaned["labels"]).mean()
    assert result["test"]["uncleaned"]["accuracy"] == pytest.approx(expected)


def test_many_labels_and_regression_have_the_same_frame():
    rng = np.random.default_rng(0)
    labels = (rng.random((200, 3)) < 0.3).astype("float32")
    logits = rng.normal(size=(200, 3)) + 2 * labels - 1
    many = evaluation.make_metrics(
        {"logits": logits, "labels": labels},
        {"logits": logits, "labels": labels},
        kind="multi_label",
        baseline={"test": np.full((200, 3), 0.4)},
    )
    right = ((expit(logits) >= 0.5) == labels).all(1)
    none = (labels == 0).all(1)
    assert many["test"]["difference"]["difference"] == pytest.approx(right.mean() - none.mean())
    assert len(many["threshold"]["value"]) == 3
    numbers = rng.normal(size=(200, 1))
    predicted = numbers + rng.normal(size=(200, 1)) * 0.1
    regression = evaluation.make_metrics(
        {"logits": predicted, "labels": numbers},
        {"logits": predicted, "labels": numbers},
        kind="regression",
        baseline={"test": np.zeros((200, 1))},
    )
    difference = regression["test"]["difference"]
    assert difference["difference"] == pytest.approx(((predicted - numbers) ** 2).mean() - (numbers**2).mean())
    assert difference["high"] < 0
    assert not difference["higher_is_better"]
    json.dumps([many, regression], allow_nan=False)


def test_worst_mistakes_are_those_with_the_least_probability_of_the_truth():
    probabilities = softmax(part(3)["logits"], axis=1)
    labels = part(3)["labels"]
    worst = evaluation.worst_mistakes(probabilities, labels, 5)
    own = probabilities[np.arange(400), labels]
    assert worst == np.argsort(own, kind="stable")[:5].tolist()
    assert evaluation.worst_mistakes(probabilities, probabilities.argmax(1)) == []


def test_a_missing_key_is_named():
    with pytest.raises(ValueError, match="`test` must have 'logits' and 'labels'"):
        evaluation.make_metrics(part(0), {"logits": part(0)["logits"]})
