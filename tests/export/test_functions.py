"""Parts of a batch: rows of like length are computed together, and answered in the order of the batch."""

import numpy as np
import pytest

from keras_transformer.export.functions import ROWS_AT_A_TIME, by_length


def in_parts():
    """Returns `by_length` of a function that sees where each token stands, and the list of shapes it is given."""
    import tensorflow as tf

    shapes = []

    def score(ids, mask, types):
        tf.py_function(lambda shape: shapes.append(tuple(shape.numpy().tolist())), [tf.shape(ids)], [])
        places = tf.range(1, tf.shape(ids)[1] + 1)
        return tf.cast(tf.stack([tf.reduce_sum(ids * mask * places, 1), tf.reduce_sum(types * mask, 1)], 1), tf.float32)

    return tf.function(by_length(score, 2), autograph=False), shapes


def batch(rows, length, seed, padding="right"):
    """Random ids, the mask of random lengths, and random segment ids."""
    random = np.random.default_rng(seed)
    ids, types = random.integers(1, 100, (rows, length)), random.integers(0, 2, (rows, length))
    real = np.arange(length) < random.integers(0, length + 1, (rows, 1))
    if padding == "left":
        real = real[:, ::-1]
    if padding == "anywhere":
        real = random.random((rows, length)) < 0.3
    return [np.asarray(tensor, np.int32) for tensor in (ids, real, types)]


@pytest.mark.parametrize("rows", [1, 7, 8, 9, 16, 33])
@pytest.mark.parametrize("padding", ["right", "left", "anywhere"])
def test_answers_are_those_of_the_whole_batch_in_its_order(rows, padding):
    ids, mask, types = batch(rows, 40, rows, padding)
    places = np.arange(1, 41)
    expected = np.stack([(ids * mask * places).sum(1), (types * mask).sum(1)], 1)
    answers = in_parts()[0](ids, mask, types)
    assert answers.shape == (rows, 2)
    np.testing.assert_array_equal(answers, expected)


def test_each_part_is_as_long_as_its_longest_row():
    call, shapes = in_parts()
    lengths = np.random.default_rng(0).permutation([3] * 9 + [10] * 8 + [40] * 3)
    mask = (np.arange(40) < lengths[:, None]).astype(np.int32)
    call(np.ones_like(mask), mask, np.zeros_like(mask))
    # Twenty rows make three parts of seven, the first one with an empty row.
    assert ROWS_AT_A_TIME == 8
    assert shapes == [(7, 3), (7, 10), (7, 40)]


def test_rows_without_a_token_and_a_batch_without_rows():
    call, shapes = in_parts()
    empty = np.zeros((3, 5), np.int32)
    np.testing.assert_array_equal(call(empty, empty, empty), np.zeros((3, 2)))
    assert shapes == [(3, 1)], "a layer may not be given a length of 0"
    nothing = np.zeros((0, 5), np.int32)
    assert call(nothing, nothing, nothing).shape == (0, 2)


def test_the_width_is_known_when_the_graph_is_built():
    import tensorflow as tf

    spec = tf.TensorSpec([None, None], tf.int32)
    concrete = in_parts()[0].get_concrete_function(spec, spec, spec)
    assert concrete.structured_outputs.shape.as_list() == [None, 2]
