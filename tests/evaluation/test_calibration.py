"""Temperature, calibration error and threshold against grids, exhaustive search and hand-counted values."""

import numpy as np
import pytest
from scipy.special import expit, log_softmax
from sklearn.metrics import f1_score

from keras_transformer import evaluation


def overconfident(classes=3, n=3000, factor=2.5):
    """Logits whose right temperature is `factor`: labels are drawn from softmax(logits / factor)."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(n, classes)) * 1.5
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = np.array([rng.choice(classes, p=row) for row in probabilities])
    return logits * factor, labels


def test_the_temperature_is_the_best_of_a_fine_grid():
    logits, labels = overconfident()
    found = evaluation.fit_temperature(logits, labels)
    grid = np.linspace(0.5, 6, 2000)
    losses = [-log_softmax(logits / t, axis=1)[np.arange(len(labels)), labels].mean() for t in grid]
    assert found == pytest.approx(grid[np.argmin(losses)], abs=3e-3)
    assert found == pytest.approx(2.5, abs=0.15)


def test_the_temperature_of_many_labels_uses_the_sigmoid():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2000, 4)) * 2
    labels = rng.random((2000, 4)) < expit(logits)
    assert evaluation.fit_temperature(logits * 3, labels) == pytest.approx(3, abs=0.15)


def test_a_model_that_is_always_right_is_left_as_it_is():
    assert evaluation.fit_temperature([[0.0, 900.0], [0.0, 1.0]], [1, 1]) == 1
    assert evaluation.fit_temperature([[-1.0, 2.0]], [[0, 1]]) == 1
    assert evaluation.fit_temperature([[900.0, 0.0], [0.0, 1.0]], [1, 1]) == pytest.approx(50, rel=1e-3)


def test_calibration_error_is_counted_by_hand_and_falls_after_scaling():
    # Bin (0.6, 0.667]: confidence 0.65, half right; bin (0.933, 1]: confidence 0.95, all right.
    probabilities = [[0.65, 0.35]] * 4 + [[0.05, 0.95]] * 6
    labels = [0, 0, 1, 1] + [1] * 6
    assert evaluation.expected_calibration_error(probabilities, labels) == pytest.approx(0.4 * 0.15 + 0.6 * 0.05)
    logits, labels = overconfident()
    temperature = evaluation.fit_temperature(logits, labels)
    before, after = (
        evaluation.expected_calibration_error(np.exp(log_softmax(logits / t, axis=1)), labels) for t in (1, temperature)
    )
    assert before > 0.15
    assert after < 0.03


def test_bins_hold_every_example_once():
    logits, labels = overconfident()
    bins = evaluation.reliability_bins(np.exp(log_softmax(logits, axis=1)), labels)
    assert sum(entry["n"] for entry in bins) == len(labels)
    for entry in bins:
        assert entry["n"] == 0 or entry["low"] <= entry["confidence"] <= entry["high"]
    ends = evaluation.reliability_bins([[0.0, 1.0], [1.0, 0.0]], [1, 1])
    assert ends[-1]["n"] == 2
    assert ends[-1]["accuracy"] == 0.5


@pytest.mark.parametrize("objective", ["f1", "accuracy"])
@pytest.mark.parametrize("seed", range(6))
def test_no_threshold_is_better_than_the_chosen_one(objective, seed):
    rng = np.random.default_rng(seed)
    labels = rng.random(60) < 0.25
    scores = np.round(np.clip(0.3 * labels + rng.normal(0.3, 0.2, 60), 0, 1), 2)  # rounded, so that many are equal

    def quality(threshold):
        decision = scores >= threshold
        if objective == "accuracy":
            return (decision == labels).mean()
        return 2 * (decision & labels).sum() / (decision.sum() + labels.sum())

    chosen = evaluation.choose_threshold(scores, labels, objective)
    if objective == "f1":
        assert quality(chosen) == pytest.approx(f1_score(labels, scores >= chosen))
    assert quality(chosen) == pytest.approx(max(quality(t) for t in np.linspace(-0.01, 1.01, 400)))


def test_thresholds_at_the_ends_stay_near_one_half():
    assert evaluation.choose_threshold([0.7, 0.9], [1, 1], "accuracy") == 0.5
    assert evaluation.choose_threshold([0.1, 0.2], [0, 0], "accuracy") == 0.5
    assert evaluation.choose_threshold([0.1, 0.9], [1, 1], "accuracy") == 0.1
    many = evaluation.choose_threshold([[0.1, 0.7], [0.3, 0.8]], [[0, 0], [1, 1]])
    assert many == pytest.approx([0.2, 0.75])


def test_a_scaled_threshold_decides_the_same():
    logits = np.random.default_rng(0).normal(size=500) * 3
    moved = evaluation.scaled_threshold(0.3, 1.7)
    np.testing.assert_array_equal(expit(logits) >= 0.3, expit(logits / 1.7) >= moved)
    assert evaluation.scaled_threshold(0.5, 9.0) == pytest.approx(0.5)
