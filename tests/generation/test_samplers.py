"""Processors and samplers against their definitions in NumPy float64. Runs under every backend."""

import functools

import keras
import numpy as np
import pytest

from keras_transformer.generation import (
    Greedy,
    MinNewTokens,
    MinP,
    RepetitionPenalty,
    Sample,
    Temperature,
    TokensSoFar,
    TopK,
    TopP,
)
from tests.generation.small_models import log_softmax

ROWS, WORDS = 200, 50
MASSES = (0.1, 0.5, 0.9)


def random_logits():
    """Logits of rows in which no sum of most probable tokens is so near a mass that float32 may fall on either side."""
    rows = np.random.default_rng(0).normal(size=(2 * ROWS, WORDS), scale=2.0).astype("float32")
    sums = np.cumsum(-np.sort(-np.exp(log_softmax(rows.astype("float64"))), axis=1), axis=1)
    distance = np.abs(sums[:, :, None] - np.array(MASSES)).min(axis=(1, 2))
    return rows[distance > 1e-5][:ROWS]


LOGITS = random_logits()


def array(tensor):
    return keras.ops.convert_to_numpy(tensor)


def probabilities(logits):
    return np.exp(log_softmax(logits.astype("float64")))


def normalised(weights):
    return weights / weights.sum(1, keepdims=True)


def by_rank(p):
    """Rank of every token, 0 for the most probable."""
    return np.argsort(np.argsort(-p, axis=1), axis=1)


def expected_top_k(p, k):
    return normalised(np.where(by_rank(p) < k, p, 0))


def expected_top_p(p, mass):
    kept = np.zeros_like(p)
    for row, weights in enumerate(p):
        total = 0.0
        for token in np.argsort(-weights):
            kept[row, token] = weights[token]
            total += weights[token]
            if total >= mass:
                break
    return normalised(kept)


def expected_min_p(p, share):
    return normalised(np.where(p >= share * p.max(1, keepdims=True), p, 0))


def distribution(*processors):
    logits = keras.ops.convert_to_tensor(LOGITS)
    for processor in processors:
        logits = processor(logits, None)
    return probabilities(array(logits))


@pytest.mark.parametrize(
    ("processor", "expected"),
    [
        pytest.param(processor, expected, id=str(processor))
        for processor, expected in (
            (Temperature(0.6), lambda p: normalised(p ** (1 / 0.6))),
            (Temperature(2.5), lambda p: normalised(p ** (1 / 2.5))),
            (TopK(1), lambda p: expected_top_k(p, 1)),
            (TopK(7), lambda p: expected_top_k(p, 7)),
            (TopK(1000), lambda p: p),
            *((TopP(mass), functools.partial(expected_top_p, mass=mass)) for mass in MASSES),
            (MinP(0.05), lambda p: expected_min_p(p, 0.05)),
            (MinP(0.5), lambda p: expected_min_p(p, 0.5)),
            (MinP(1.0), lambda p: expected_min_p(p, 1.0)),
        )
    ],
)
def test_a_processor_changes_the_distribution_as_defined(processor, expected):
    np.testing.assert_allclose(distribution(processor), expected(probabilities(LOGITS)), rtol=1e-4, atol=1e-7)


def test_all_together_are_applied_in_order():
    sampler = Sample(temperature=1.7, top_k=20, top_p=0.9, min_p=0.1)
    p = normalised(probabilities(LOGITS) ** (1 / 1.7))
    expected = expected_min_p(expected_top_p(expected_top_k(p, 20), 0.9), 0.1)
    np.testing.assert_allclose(distribution(*sampler.processors), expected, rtol=1e-4, atol=1e-7)


def test_equally_probable_tokens_are_kept_together():
    logits = np.log(np.array([[0.4, 0.2, 0.2, 0.2]], "float32"))
    for processor in (TopK(2), TopP(0.5)):
        assert np.isfinite(array(processor(logits, None))).all()
    assert array(Greedy().choose(np.array([[1.0, 2.0, 2.0]], "float32"))).tolist() == [1]


def test_repetition_penalty_follows_the_definition():
    rng = np.random.default_rng(1)
    ids, mask = rng.integers(0, WORDS, (ROWS, 12)), rng.integers(0, 2, (ROWS, 12)).astype(bool)
    expected = LOGITS.astype("float64")
    for row in range(ROWS):
        for token in set(ids[row][mask[row]].tolist()):
            expected[row, token] *= 1.5 if expected[row, token] < 0 else 1 / 1.5
    found = RepetitionPenalty(1.5)(keras.ops.convert_to_tensor(LOGITS), TokensSoFar(ids, mask, 3))
    np.testing.assert_allclose(array(found), expected, rtol=1e-5)


def test_stop_tokens_are_forbidden_up_to_the_minimum_only():
    for num_new, forbidden in ((0, True), (2, True), (3, False), (9, False)):
        found = array(MinNewTokens(3, (4, 11))(keras.ops.convert_to_tensor(LOGITS), TokensSoFar(None, None, num_new)))
        assert np.isneginf(found[:, [4, 11]]).all() == forbidden
        others = np.delete(np.arange(WORDS), [4, 11])
        np.testing.assert_array_equal(found[:, others], LOGITS[:, others])


def test_draws_have_the_frequencies_of_the_distribution():
    """20,000 draws in 20 steps, from a distribution with tokens that are impossible; chi-square at 0.001."""
    logits = np.repeat(LOGITS[:1], 1000, axis=0)
    sampler = Sample(top_k=8)
    kept = sampler.processors[0](keras.ops.convert_to_tensor(logits), None)
    draws = [array(sampler.choose(kept, keras.ops.convert_to_tensor([7, step], "int32"))) for step in range(20)]
    counts = np.bincount(np.concatenate(draws), minlength=WORDS)
    p = expected_top_k(probabilities(LOGITS[:1]), 8)[0]
    assert counts[p == 0].sum() == 0
    expected = p[p > 0] * 20000
    assert ((counts[p > 0] - expected) ** 2 / expected).sum() < 24.3, "7 degrees of freedom"


def test_rows_and_steps_draw_independently():
    """Neighbouring rows, steps and seeds agree as often as independent draws do."""
    flat, sampler = keras.ops.zeros((4000, 10)), Sample()
    draws = {
        key: array(sampler.choose(flat, keras.ops.convert_to_tensor(key, "int32"))) for key in ((1, 0), (1, 1), (2, 0))
    }
    again = array(sampler.choose(flat, keras.ops.convert_to_tensor((1, 0), "int32")))
    np.testing.assert_array_equal(again, draws[1, 0])
    pairs = [(draws[1, 0], draws[1, 1]), (draws[1, 0], draws[2, 0]), (draws[1, 0][1:], draws[1, 0][:-1])]
    for first, second in pairs:
        # 0.1, and four standard deviations of 4,000 draws
        assert abs((first == second).mean() - 0.1) < 0.019
