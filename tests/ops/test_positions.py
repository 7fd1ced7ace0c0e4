"""Position schemes against formulas in float64 and against transformers."""

import math

import keras
import numpy as np
import pytest

from keras_transformer import ops
from tests.ops.test_ops import random


def angles(positions, dim, theta=10000.0):
    return np.asarray(positions, "float64")[..., None] / theta ** (np.arange(0, dim, 2) / dim)


def rotated(x, positions, dim, theta=10000.0):
    """Multiplies pairs of features as complex numbers, in float64."""
    turned = (x[..., : dim // 2] + 1j * x[..., dim // 2 : dim]) * np.exp(1j * angles(positions, dim, theta))[:, None]
    return np.concatenate([turned.real, turned.imag, x[..., dim:]], -1)


@pytest.mark.parametrize("dim", [8, 4])
def test_rotation_turns_pairs_of_features_as_complex_numbers(dim):
    x, positions = random(2, 3, 5, 8), np.array([[0, 1, 2, 3, 4], [7, 300, 9, 1000, 0]])
    rotation = ops.rotation(positions, ops.rotary_frequencies(dim))
    np.testing.assert_allclose(ops.rotate(np.float32(x), rotation), rotated(x, positions, dim), atol=2e-4)


def test_rotated_products_depend_on_the_distance_only():
    q, k = random(1, 1, 1, 16), random(1, 1, 1, 16, seed=1)
    frequencies = ops.rotary_frequencies(16)

    def product(query_position, key_position):
        turned = [
            np.array(ops.rotate(np.float32(x), ops.rotation(np.array([[position]]), frequencies)), "float64")
            for x, position in ((q, query_position), (k, key_position))
        ]
        return float((turned[0] * turned[1]).sum())

    assert product(7, 3) == pytest.approx(product(104, 100), abs=1e-4)
    assert abs(product(7, 3) - product(8, 3)) > 1e-2


def test_linear_scaling_squeezes_positions_and_ntk_only_the_slow_frequencies():
    plain = ops.rotary_frequencies(64)
    np.testing.assert_allclose(ops.rotary_frequencies(64, scaling="linear", factor=4), plain / 4)
    ntk = ops.rotary_frequencies(64, scaling="ntk", factor=4)
    assert ntk[0] == plain[0]
    assert ntk[-1] == pytest.approx(plain[-1] / 4, rel=1e-5)
    assert (np.diff(ntk / plain) < 0).all()


def test_positions_above_256_stay_apart_under_bfloat16():
    keras.config.set_dtype_policy("mixed_bfloat16")
    x = keras.ops.cast(np.ones((1, 1, 4, 8), "float32"), "bfloat16")
    rotation = ops.rotation(np.array([[1000, 1001, 1002, 1003]]), ops.rotary_frequencies(8))
    turned = np.array(keras.ops.cast(ops.rotate(x, rotation), "float32"))
    np.testing.assert_allclose(turned, rotated(np.ones((1, 1, 4, 8)), [[1000, 1001, 1002, 1003]], 8), atol=0.01)
    assert len(np.unique(turned[0, 0, :, 0])) == 4


@pytest.mark.parametrize(
    ("bidirectional", "num_buckets", "max_distance"), [(True, 32, 128), (False, 32, 128), (True, 8, 20), (False, 6, 50)]
)
def test_buckets_are_those_of_transformers(bidirectional, num_buckets, max_distance):
    torch = pytest.importorskip("torch")
    modeling = pytest.importorskip("transformers.models.t5.modeling_t5")
    relative = np.arange(-700, 701)[None, None]
    expected = modeling.T5Attention._relative_position_bucket(
        torch.tensor(relative), bidirectional, num_buckets, max_distance
    )
    np.testing.assert_array_equal(ops.relative_buckets(relative, bidirectional, num_buckets, max_distance), expected)


def test_relative_positions_are_key_minus_query():
    relative = ops.relative_positions(np.array([[5, 6]]), np.array([[4, 5, 9], [0, 1, 2]]))
    np.testing.assert_array_equal(relative, [[[-1, 0, 4], [-2, -1, 3]], [[-5, -4, -3], [-6, -5, -4]]])


def test_alibi_slopes_of_a_power_of_two_and_between():
    np.testing.assert_array_equal(ops.alibi_slopes(8), [2.0**-i for i in range(1, 9)])
    # Six heads: the four of 2 ** -2, ..., 2 ** -8, then two from those of eight heads.
    np.testing.assert_array_equal(ops.alibi_slopes(6), [2.0**-2, 2.0**-4, 2.0**-6, 2.0**-8, 2.0**-1, 2.0**-3])


@pytest.mark.parametrize("heads", [1, 4, 6, 12])
def test_alibi_is_that_of_transformers(heads):
    torch = pytest.importorskip("torch")
    modeling = pytest.importorskip("transformers.models.bloom.modeling_bloom")
    theirs = modeling.build_alibi_tensor(torch.ones(1, 7), heads, torch.float32).reshape(heads, 1, 7).numpy()
    bias = np.array(
        ops.alibi_bias(ops.relative_positions(np.arange(7)[None], np.arange(7)[None]), ops.alibi_slopes(heads))
    )
    # Theirs grows with the key's position; a constant in a row is nothing to the softmax.
    last = bias[0, :, -1]
    np.testing.assert_allclose(last - last[:, :1], theirs[:, 0] - theirs[:, 0, :1], rtol=1e-6)
    np.testing.assert_array_equal(bias, bias.transpose(0, 1, 3, 2))


def test_relative_scores_are_products_with_the_key_of_the_distance():
    q, table = random(2, 3, 4, 5), random(7, 5, seed=1)
    index = np.random.default_rng(2).integers(0, 7, (1, 4, 6))
    expected = np.einsum("bhqd,qkd->bhqk", q, table[index[0]])
    np.testing.assert_allclose(ops.relative_scores(np.float32(q), np.float32(table), index), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (lambda: ops.rotary_frequencies(7), "even number of features"),
        (lambda: ops.rotary_frequencies(8, scaling="yarn"), "scaling must be one of"),
        (lambda: ops.rotary_frequencies(8, factor=0.5), "factor must be at least 1"),
        (lambda: ops.rotate(np.ones((1, 1, 2, 4), "float32"), np.ones((1, 1, 2, 8), "float32")), "cannot be rotated"),
        (lambda: ops.relative_buckets(np.zeros((1, 1)), True, 2, 8), "num_buckets must be at least"),
        (lambda: ops.relative_buckets(np.zeros((1, 1)), False, 32, 16), "max_distance above half"),
    ],
)
def test_mistakes_get_one_clear_message(mistake, message):
    with pytest.raises(ValueError, match=message):
        mistake()


def test_sines_are_exact_where_float32_angles_would_not_be():
    table = ops.sincos_table(20_000, 8)
    assert table[19_999, 0] == pytest.approx(math.sin(19_999), abs=1e-6)
