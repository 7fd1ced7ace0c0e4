"""Figures of a classifier against scikit-learn and against values counted by hand."""

import json

import numpy as np
import pytest
from sklearn import metrics as sk

from keras_transformer import evaluation


def make_case(classes, n=400, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    logits = rng.normal(size=(n, classes)) + 1.2 * np.eye(classes)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return probabilities, labels


@pytest.mark.parametrize("classes", [2, 5])
def test_figures_equal_those_of_scikit_learn(classes):
    probabilities, labels = make_case(classes)
    report = evaluation.classification_report(probabilities, labels)
    decision = probabilities.argmax(1)
    assert report["accuracy"] == pytest.approx(sk.accuracy_score(labels, decision))
    expected = sk.precision_recall_fscore_support(labels, decision, average="macro")
    assert [report[key] for key in ("precision", "recall", "f1")] == pytest.approx(expected[:3])
    per_class = sk.precision_recall_fscore_support(labels, decision)
    for i, entry in enumerate(report["by_class"]):
        found = [entry[key] for key in ("precision", "recall", "f1", "n")]
        assert found == pytest.approx([values[i] for values in per_class])
    one_hot = np.eye(classes)[labels]
    if classes == 2:
        assert report["roc_auc"] == pytest.approx(sk.roc_auc_score(labels, probabilities[:, 1]))
        assert report["pr_auc"] == pytest.approx(sk.average_precision_score(labels, probabilities[:, 1]))
    else:
        expected = sk.roc_auc_score(labels, probabilities, multi_class="ovr", average="macro")
        assert report["roc_auc"] == pytest.approx(expected)
        assert report["pr_auc"] == pytest.approx(sk.average_precision_score(one_hot, probabilities, average="macro"))
    assert report["log_loss"] == pytest.approx(sk.log_loss(labels, probabilities))
    assert report["confusion_matrix"] == sk.confusion_matrix(labels, decision).tolist()


def test_a_threshold_replaces_the_more_probable_class():
    probabilities, labels = make_case(2)
    report = evaluation.classification_report(probabilities, labels, threshold=0.8)
    decision = (probabilities[:, 1] >= 0.8).astype(int)
    assert report["confusion_matrix"] == sk.confusion_matrix(labels, decision).tolist()
    assert report["accuracy"] != evaluation.classification_report(probabilities, labels)["accuracy"]
    with pytest.raises(ValueError, match="two classes"):
        evaluation.classification_report(*make_case(3), threshold=0.5)


def test_accuracy_by_length_is_counted_by_hand():
    buckets = evaluation.accuracy_by_length([1, 0, 1, 1, 0], [10, 64, 65, 600, 601], edges=(64, 128, 600))
    assert [(b["low"], b["high"], b["n"], b["accuracy"]) for b in buckets] == [
        (0, 64, 2, 0.5),
        (65, 128, 1, 1.0),
        (129, 600, 1, 1.0),
        (601, None, 1, 0.0),
    ]
    probabilities, labels = make_case(2)
    lengths = np.random.default_rng(1).integers(1, 900, labels.size)
    by_length = evaluation.classification_report(probabilities, labels, lengths=lengths)["by_length"]
    correct = probabilities.argmax(1) == labels
    assert by_length[2]["accuracy"] == pytest.approx(correct[(lengths > 128) & (lengths <= 256)].mean())
    assert sum(bucket["n"] for bucket in by_length) == labels.size


def test_what_cannot_be_computed_is_none_and_the_rest_is_json():
    probabilities, _ = make_case(3, n=5)
    report = evaluation.classification_report(probabilities, [0, 0, 0, 0, 0], lengths=[1, 2, 3, 4, 5])
    assert report["roc_auc"] is None
    assert report["by_class"][1]["recall_interval"] is None
    json.dumps(report, allow_nan=False)


def test_curves_hold_the_area_and_the_ends():
    probabilities, labels = make_case(2, n=3000)
    curves = evaluation.curves(probabilities, labels, ["no", "yes"], max_points=150)
    roc, pr = curves["roc"]["yes"], curves["pr"]["yes"]
    assert len(roc["x"]) <= 152
    assert (roc["x"][0], roc["y"][0], roc["x"][-1], roc["y"][-1]) == (0, 0, 1, 1)
    assert np.trapezoid(roc["y"], roc["x"]) == pytest.approx(sk.roc_auc_score(labels, probabilities[:, 1]), abs=2e-3)
    assert np.trapezoid(pr["y"], pr["x"]) == pytest.approx(
        sk.average_precision_score(labels, probabilities[:, 1]), abs=5e-3
    )
    assert set(evaluation.curves(*make_case(4))["roc"]) == {"0", "1", "2", "3"}
    assert evaluation.curves([[0.5, 0.5]], [1]) == {"roc": {}, "pr": {}}


@pytest.mark.parametrize(
    ("probabilities", "labels", "message"),
    [
        ([[0.5, 0.5]], [2], "from 0 to 1"),
        ([[0.5, 0.5]], [0.5], "whole numbers"),
        ([[0.9, 0.9]], [0], "sum to 1"),
        ([[np.nan, 0.5]], [0], "finite"),
        ([[0.5, 0.5]], [0, 1], "shape"),
        ([[1.0]], [0], "two columns"),
        (np.zeros((0, 2)), [], "not empty"),
    ],
)
def test_bad_input_is_named(probabilities, labels, message):
    with pytest.raises(ValueError, match=message):
        evaluation.classification_report(probabilities, labels)
