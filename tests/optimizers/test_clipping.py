import numpy as np
import pytest
import tensorflow as tf

from keras_transformer.optimizers import clip_by_global_norm, global_norm


def _gradients(seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype("float32") for shape in [(7, 5), (3,), (2, 4, 6)]]


def _norm(arrays):
    return np.sqrt(sum((a.astype("float64") ** 2).sum() for a in arrays))


def test_norm_of_the_result_is_the_bound_and_directions_stay():
    gradients = _gradients()
    clipped, norm = clip_by_global_norm(gradients, 0.5)
    np.testing.assert_allclose(float(norm), _norm(gradients), rtol=1e-6)
    np.testing.assert_allclose(_norm([np.array(c) for c in clipped]), 0.5, rtol=1e-6)
    for before, after in zip(gradients, clipped, strict=True):
        np.testing.assert_allclose(after, before * (0.5 / _norm(gradients)), rtol=1e-6)


def test_gradients_below_the_bound_stay_bit_for_bit():
    gradients = _gradients()
    clipped, _ = clip_by_global_norm(gradients, 100.0)
    for before, after in zip(gradients, clipped, strict=True):
        np.testing.assert_array_equal(after, before)


def test_rows_that_stand_twice_are_added_before_they_are_squared():
    values = np.array([[3.0, 0.0], [0.0, 1.0], [1.0, 0.0]], "float32")
    rows = tf.IndexedSlices(tf.constant(values), tf.constant([4, 2, 4]), tf.constant([6, 2]))
    table = np.zeros((6, 2))
    np.add.at(table, [4, 2, 4], values)
    np.testing.assert_allclose(float(global_norm([rows])), np.sqrt(17), rtol=1e-6)
    (clipped,), _ = clip_by_global_norm([rows], 1.0)
    np.testing.assert_allclose(clipped, table / np.sqrt(17), rtol=1e-6)


def test_missing_gradients_count_as_nothing():
    clipped, norm = clip_by_global_norm([None, np.array([3.0, 4.0], "float32"), None], 1.0)
    assert clipped[0] is None
    assert clipped[2] is None
    assert float(norm) == 5.0


def test_gradients_that_are_all_zero_stay_zero():
    (clipped,), norm = clip_by_global_norm([np.zeros(3, "float32")], 1.0)
    assert float(norm) == 0.0
    np.testing.assert_array_equal(clipped, np.zeros(3))


def test_low_precision_gradients_have_a_float32_norm():
    gradient = tf.fill((100_000,), tf.constant(0.01, tf.bfloat16))
    expected = np.sqrt(100_000) * float(gradient[0])
    np.testing.assert_allclose(float(global_norm([gradient])), expected, rtol=1e-5)


def test_nothing_to_clip_is_refused():
    with pytest.raises(ValueError, match=r"no gradient.*Received: gradients=\[None\]"):
        clip_by_global_norm([None], 1.0)
    with pytest.raises(ValueError, match=r"clip_norm must be above 0. Received: 0"):
        clip_by_global_norm(_gradients(), 0)
