"""Intervals and tests that say how far a measured figure can be trusted."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np


def wilson_interval(correct: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of a proportion that stays inside [0, 1] and holds for small samples.

    Args:
        correct: int, number of successes.
        total: int, number of trials, at least 1.
        confidence: float in (0, 1), default 0.95.

    Returns:
        (low, high), two floats.

    Raises:
        ValueError: if the counts or the confidence are impossible.

    Example:
        ```python
        from keras_transformer.evaluation import wilson_interval
        low, high = wilson_interval(90, 100)
        assert round(low, 4) == 0.8256 and round(high, 4) == 0.9448
        ```

    Reference: Wilson, Probable inference, the law of succession, and statistical inference (1927).
    """
    if not 0 <= correct <= total or total < 1 or not 0 < confidence < 1:
        raise ValueError(
            "`correct` must be from 0 to `total`, `total` at least 1 and `confidence` inside (0, 1). "
            f"Received: correct={correct}, total={total}, confidence={confidence}"
        )
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    proportion = correct / total
    centre = proportion + z * z / (2 * total)
    spread = z * math.sqrt(proportion * (1 - proportion) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def paired_bootstrap(scores_a, scores_b, seed: int = 0, samples: int = 10_000, confidence: float = 0.95) -> dict:
    """Bootstrap interval of mean(a) - mean(b), where both were scored on the same examples.

    Pairs are drawn together, so what is hard for both cancels out. Drawing n pairs with replacement is one multinomial
    draw over the distinct differences (three of them for right/wrong scores): the same distribution as drawing indices,
    thousands of times faster.

    Args:
        scores_a: array-like, shape (examples,), score of each example under a (1 = right, 0 = wrong, or any number).
        scores_b: array-like, shape (examples,), the same under b.
        seed: int, default 0.
        samples: int, number of bootstrap samples, default 10,000.
        confidence: float in (0, 1), default 0.95.

    Returns:
        dict with "difference", "low", "high", "confidence" (floats), "n" and "samples" (ints).

    Raises:
        ValueError: if the shapes differ or are empty.

    Example:
        ```python
        from keras_transformer.evaluation import paired_bootstrap
        result = paired_bootstrap([1, 1, 1, 0] * 50, [1, 0, 0, 0] * 50)
        assert result["difference"] == 0.5 and 0.4 < result["low"] < 0.5 < result["high"] < 0.6
        ```
    """
    a, b = np.asarray(scores_a, dtype=np.float64), np.asarray(scores_b, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape or a.size == 0:
        raise ValueError(f"Both scores must have one shape (examples,). Received: {a.shape} and {b.shape}")
    generator = np.random.default_rng(seed)
    difference = a - b
    values, counts = np.unique(difference, return_counts=True)
    means = np.empty(samples)
    # The draw holds samples x values counts at once: taken in pieces of about 80 MB, since real scores may all differ.
    piece = max(1, 10_000_000 // values.size)
    for start in range(0, samples, piece):
        size = min(piece, samples - start)
        means[start : start + size] = generator.multinomial(a.size, counts / a.size, size=size) @ values / a.size
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return {
        "difference": float(difference.mean()),
        "low": float(low),
        "high": float(high),
        "confidence": float(confidence),
        "n": int(a.size),
        "samples": int(samples),
    }


def mcnemar(correct_a, correct_b) -> dict:
    """Exact McNemar test: are the examples that only one of two classifiers gets right split evenly?

    Args:
        correct_a: array-like of bool, shape (examples,).
        correct_b: array-like of bool, shape (examples,).

    Returns:
        dict with "only_a", "only_b" (ints) and "p_value" (float, two-sided).

    Raises:
        ValueError: if the shapes differ.
    """
    from scipy.stats import binomtest

    a, b = np.asarray(correct_a, dtype=bool), np.asarray(correct_b, dtype=bool)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"Both must have one shape (examples,). Received: {a.shape} and {b.shape}")
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    p_value = binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    return {"only_a": only_a, "only_b": only_b, "p_value": float(p_value)}
