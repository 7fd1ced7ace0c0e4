"""Intervals against SciPy and against resampling done the slow way."""

import numpy as np
import pytest
from scipy.stats import binomtest

from keras_transformer import evaluation


@pytest.mark.parametrize(("correct", "total"), [(0, 10), (10, 10), (4431, 5000), (1, 3)])
def test_wilson_equals_scipy(correct, total):
    expected = binomtest(correct, total).proportion_ci(method="wilson")
    assert evaluation.wilson_interval(correct, total) == pytest.approx((expected.low, expected.high))


def test_wilson_refuses_impossible_counts():
    with pytest.raises(ValueError, match="Received: correct=4, total=3"):
        evaluation.wilson_interval(4, 3)


@pytest.mark.parametrize("kind", ["right_or_wrong", "real"])
def test_paired_bootstrap_equals_resampling_of_indices(kind):
    rng = np.random.default_rng(0)
    a, b = rng.random(800) < 0.9, rng.random(800) < 0.87
    if kind == "real":
        a, b = a + rng.normal(size=800), b + rng.normal(size=800)
    found = evaluation.paired_bootstrap(a, b, seed=1, samples=4000)
    difference = a.astype(float) - b
    means = [difference[rng.integers(0, 800, 800)].mean() for _ in range(4000)]
    low, high = np.quantile(means, [0.025, 0.975])
    assert found["difference"] == pytest.approx(difference.mean())
    width = high - low
    assert found["low"] == pytest.approx(low, abs=0.06 * width)
    assert found["high"] == pytest.approx(high, abs=0.06 * width)
    assert found == evaluation.paired_bootstrap(a, b, seed=1, samples=4000)


def test_paired_bootstrap_of_equals_is_zero_and_shapes_are_checked():
    result = evaluation.paired_bootstrap([1, 0, 1], [1, 0, 1])
    assert (result["low"], result["difference"], result["high"]) == (0, 0, 0)
    with pytest.raises(ValueError, match=r"\(2,\) and \(3,\)"):
        evaluation.paired_bootstrap([1, 0], [1, 0, 1])


def test_mcnemar_counts_what_only_one_gets_right():
    a = [1] * 15 + [0] * 5 + [1] * 80
    b = [0] * 15 + [1] * 5 + [1] * 80
    result = evaluation.mcnemar(a, b)
    assert (result["only_a"], result["only_b"]) == (15, 5)
    # Twice the tail of a fair coin: sum of C(20, k), k <= 5, over 2^20.
    assert result["p_value"] == pytest.approx(2 * 21700 / 2**20)
    assert evaluation.mcnemar([1, 1], [1, 1])["p_value"] == 1.0
