"""Masks against loops over every pair of query and key."""

import itertools

import numpy as np
import pytest

from keras_transformer import ops


def by_rule(rule, batch, queries, keys):
    """Returns the mask of a rule on (row, query, key)."""
    mask = np.zeros((batch, queries, keys), bool)
    for position in itertools.product(range(batch), range(queries), range(keys)):
        mask[position] = rule(*position)
    return mask


@pytest.mark.parametrize(("queries", "keys", "offset"), [(5, None, 0), (1, 6, 3), (3, 6, 2), (2, 4, 0)])
def test_a_causal_query_sees_itself_and_what_came_before(queries, keys, offset):
    expected = by_rule(lambda _, q, k: k <= q + offset, 1, queries, keys or queries)
    np.testing.assert_array_equal(ops.causal_mask(queries, keys, offset), expected)


@pytest.mark.parametrize(("queries", "keys", "offset"), [(6, None, 0), (2, 7, 4)])
@pytest.mark.parametrize("window", [1, 3])
def test_a_window_holds_the_nearest_keys(window, queries, keys, offset):
    keys = keys or queries
    causal = by_rule(lambda _, q, k: 0 <= q + offset - k < window, 1, queries, keys)
    both = by_rule(lambda _, q, k: abs(q + offset - k) < window, 1, queries, keys)
    np.testing.assert_array_equal(ops.sliding_window_mask(window, queries, keys, offset), causal)
    np.testing.assert_array_equal(ops.sliding_window_mask(window, queries, keys, offset, causal=False), both)


def test_the_prefix_is_seen_by_all_and_the_rest_causally():
    prefix = np.array([[1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]])
    expected = by_rule(lambda b, q, k: bool(prefix[b, k]) or k <= q, 3, 4, 4)
    np.testing.assert_array_equal(ops.prefix_mask(prefix), expected)
    np.testing.assert_array_equal(ops.prefix_mask(prefix, query_length=2, offset=1), expected[:, 1:3])


def test_examples_in_one_row_do_not_see_each_other():
    ids = np.array([[1, 1, 2, 2, 0], [3, 3, 3, 0, 0]])
    expected = by_rule(lambda b, q, k: ids[b, q] == ids[b, k] != 0, 2, 5, 5)
    np.testing.assert_array_equal(ops.block_diagonal_mask(ids), expected)


def test_masks_of_all_ranks_combine():
    padding = np.array([[1, 1, 0], [1, 1, 1]])
    heads = np.random.default_rng(0).integers(0, 2, (2, 4, 3, 3)).astype(bool)
    combined = np.array(ops.combine_masks(padding, None, ops.causal_mask(3), heads))
    np.testing.assert_array_equal(combined, heads & np.tri(3, dtype=bool) & padding[:, None, None].astype(bool))
    assert ops.combine_masks(None, None) is None


@pytest.mark.parametrize("shape", [(2, 3), (2, 4, 3), (2, 5, 4, 3)])
def test_bias_and_valid_rows_of_every_rank(shape):
    mask = np.random.default_rng(1).integers(0, 2, shape)
    mask[0] = 0  # rows that see nothing
    full = mask.reshape({2: (2, 1, 1, 3), 3: (2, 1, 4, 3), 4: shape}[len(shape)])
    np.testing.assert_array_equal(ops.attention_bias(mask, -7.0), np.where(full, 0.0, -7.0))
    np.testing.assert_array_equal(ops.row_valid(mask), full.max(-1, keepdims=True))


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (lambda: ops.attention_bias(np.ones(3, bool)), r"Received: dtype=bool, shape=\(3,\)"),
        (lambda: ops.row_valid(np.ones((2, 3), "float32")), "Received: dtype=float32"),
        (lambda: ops.combine_masks(np.ones((1, 2, 3, 4, 5), bool)), "A mask must be boolean"),
        (lambda: ops.sliding_window_mask(0, 3), "window must be above 0"),
    ],
)
def test_what_cannot_be_a_mask_is_refused(mistake, message):
    with pytest.raises(ValueError, match=message):
        mistake()
