"""Many labels at once and regression against scikit-learn and SciPy."""

import json

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr
from sklearn import metrics as sk

from keras_transformer import evaluation


@pytest.fixture
def many_labels():
    rng = np.random.default_rng(0)
    labels = (rng.random((300, 4)) < [0.5, 0.2, 0.1, 0.7]).astype(int)
    probabilities = np.clip(0.5 * labels + rng.random((300, 4)) * 0.6, 0, 1)
    return probabilities, labels


def test_many_labels_equal_scikit_learn(many_labels):
    probabilities, labels = many_labels
    report = evaluation.multi_label_report(probabilities, labels)
    decision = (probabilities >= 0.5).astype(int)
    assert report["accuracy"] == pytest.approx(sk.accuracy_score(labels, decision))
    assert report["hamming_accuracy"] == pytest.approx(1 - sk.hamming_loss(labels, decision))
    for average, prefix in (("macro", ""), ("micro", "micro_")):
        expected = sk.precision_recall_fscore_support(labels, decision, average=average)[:3]
        assert [report[prefix + key] for key in ("precision", "recall", "f1")] == pytest.approx(expected)
    assert report["roc_auc"] == pytest.approx(sk.roc_auc_score(labels, probabilities, average="macro"))
    assert report["pr_auc"] == pytest.approx(sk.average_precision_score(labels, probabilities, average="macro"))
    losses = [sk.log_loss(labels[:, i], np.clip(probabilities[:, i], 1e-15, 1 - 1e-15)) for i in range(4)]
    assert report["log_loss"] == pytest.approx(np.mean(losses))
    matrices = sk.multilabel_confusion_matrix(labels, decision)
    assert [entry["confusion_matrix"] for entry in report["by_class"]] == matrices.tolist()
    json.dumps(report, allow_nan=False)


def test_each_label_has_its_own_threshold(many_labels):
    probabilities, labels = many_labels
    thresholds = evaluation.choose_threshold(probabilities, labels)
    report = evaluation.multi_label_report(probabilities, labels, threshold=thresholds)
    assert report["f1"] == pytest.approx(sk.f1_score(labels, probabilities >= thresholds, average="macro"))
    assert report["f1"] > evaluation.multi_label_report(probabilities, labels)["f1"]


def test_many_labels_refuse_other_values():
    with pytest.raises(ValueError, match="0 or 1"):
        evaluation.multi_label_report([[0.5]], [[2]])
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        evaluation.multi_label_report([[1.5]], [[1]])


def test_regression_equals_scikit_learn_and_scipy():
    rng = np.random.default_rng(0)
    labels = rng.normal(size=(200, 2)) * [1, 5]
    predicted = labels + rng.normal(size=(200, 2))
    report = evaluation.regression_report(predicted, labels, ["a", "b"])
    for i, entry in enumerate(report["by_output"]):
        y, p = labels[:, i], predicted[:, i]
        expected = [sk.mean_squared_error(y, p), sk.mean_absolute_error(y, p), sk.r2_score(y, p)]
        expected += [pearsonr(y, p).statistic, spearmanr(y, p).statistic]
        assert [entry[key] for key in ("mse", "mae", "r2", "pearson", "spearman")] == pytest.approx(expected)
    assert report["mse"] == pytest.approx(sk.mean_squared_error(labels, predicted))
    assert report["r2"] == pytest.approx(sk.r2_score(labels, predicted))


def test_regression_of_constants_has_no_correlation():
    report = evaluation.regression_report([1.0, 1.0], [2.0, 2.0])
    assert (report["mse"], report["r2"], report["pearson"]) == (1.0, None, None)
    json.dumps(report, allow_nan=False)
