"""Every op against NumPy in float64, in both implementations."""

import functools
import importlib
import itertools
import math
import pathlib

import keras
import numpy as np
import pytest

from keras_transformer import ops
from keras_transformer.ops import precision

IMPLEMENTATIONS = ["keras_transformer.ops._tensorflow", "keras_transformer.ops._keras"]


@pytest.fixture(params=IMPLEMENTATIONS, ids=["tensorflow", "keras"])
def primitives(request):
    return importlib.import_module(request.param)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


REFERENCE_ACTIVATIONS = {
    "linear": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "gelu": lambda x: 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))),
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "tanh": np.tanh,
}


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("activation", ops.ACTIVATIONS)
@pytest.mark.parametrize("shape", [(6, 8), (2, 3, 8), (2, 2, 3, 8)])
def test_dense_is_product_bias_activation(primitives, activation, shape):
    x, kernel, bias = random(*shape), random(8, 5, seed=1), random(5, seed=2)
    got = primitives.dense(x.astype("float32"), kernel.astype("float32"), bias.astype("float32"), activation)
    np.testing.assert_allclose(got, REFERENCE_ACTIVATIONS[activation](x @ kernel + bias), atol=2e-5)


def test_every_activation_has_a_reference():
    assert set(REFERENCE_ACTIVATIONS) == set(ops.ACTIVATIONS)


def test_dense_without_bias(primitives):
    x, kernel = random(2, 3, 8), random(8, 5, seed=1)
    np.testing.assert_allclose(primitives.dense(x.astype("float32"), kernel.astype("float32")), x @ kernel, atol=2e-5)


@pytest.mark.parametrize("shape", [(4, 16), (2, 3, 16)])
def test_layer_norm_is_mean_zero_variance_one_scaled(primitives, shape):
    x, gamma, beta = random(*shape) * 3 + 5, random(16, seed=1), random(16, seed=2)
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    expected = (x - mean) / np.sqrt(variance + 1e-5) * gamma + beta
    got = primitives.layer_norm(*(np.float32(a) for a in (x, gamma, beta)), 1e-5)
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_layer_norm_has_float32_statistics_under_bfloat16(primitives):
    x = keras.ops.cast(random(3, 64) + 100, "bfloat16")
    got = primitives.layer_norm(x, np.ones(64, "float32"), np.zeros(64, "float32"), 1e-6)
    assert keras.backend.standardize_dtype(got.dtype) == "bfloat16"
    exact = np.array(keras.ops.cast(x, "float32"), "float64")
    expected = (exact - exact.mean(-1, keepdims=True)) / np.sqrt(exact.var(-1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(np.array(keras.ops.cast(got, "float32")), expected, atol=0.05)


def test_lookup_reads_rows(primitives):
    table, ids = random(10, 4), np.array([[1, 9], [0, 1]])
    np.testing.assert_allclose(primitives.lookup(table.astype("float32"), ids), table[ids], atol=1e-6)


def attention_reference(q, k, v, bias, valid):
    weights = softmax(q @ k.transpose(0, 1, 3, 2) / math.sqrt(q.shape[-1]) + bias) * valid
    return weights @ v, weights


@pytest.mark.parametrize("with_mask", [False, True])
def test_attention_with_bias_and_empty_rows(primitives, with_mask):
    q, k, v = random(2, 3, 4, 8), random(2, 3, 6, 8, seed=1), random(2, 3, 6, 8, seed=2)
    mask = np.array([[1, 1, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0]])
    bias = ops.attention_bias(mask) if with_mask else None
    valid = ops.row_valid(mask) if with_mask else None
    context, weights = primitives.attention(
        *(np.float32(a) for a in (q, k, v)), bias=bias, row_valid=valid, return_weights=True
    )
    expected = attention_reference(
        q, k, v, np.array(bias, "float64") if with_mask else 0, np.array(valid) if with_mask else 1
    )
    np.testing.assert_allclose(context, expected[0], atol=1e-5)
    np.testing.assert_allclose(weights, expected[1], atol=1e-5)
    plain = primitives.attention(*(np.float32(a) for a in (q, k, v)), bias=bias, row_valid=valid)
    np.testing.assert_allclose(plain, context, atol=1e-6)
    if with_mask:
        assert np.all(np.array(context)[1] == 0), "a row that attends to nothing is zero"
        assert np.all(np.array(weights)[0, :, :, 4:] == 0), "a masked key gets exactly no weight"


@pytest.mark.parametrize("key_heads", [1, 2, 4])
def test_queries_that_share_keys_attend_as_if_keys_were_repeated(primitives, key_heads):
    q, k, v = random(2, 4, 5, 8), random(2, key_heads, 6, 8, seed=1), random(2, key_heads, 6, 8, seed=2)
    bias = random(2, 4, 5, 6, seed=3)
    repeated = (np.repeat(a, 4 // key_heads, axis=1) for a in (k, v))
    expected = attention_reference(q, *repeated, bias, 1)
    got = primitives.attention(*(np.float32(a) for a in (q, k, v)), bias=np.float32(bias), return_weights=True)
    for ours, theirs in zip(got, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_scores_take_another_scale(primitives):
    q, k, v = (np.float32(random(1, 2, 3, 4, seed=i)) for i in range(3))
    plain = primitives.attention(q * 2, k, v)
    np.testing.assert_allclose(primitives.attention(q, k, v, scale=1.0), plain, atol=1e-6)


def test_rms_norm_divides_by_the_root_mean_square(primitives):
    x, gamma = random(2, 3, 16) * 3 + 5, random(16, seed=1)
    expected = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * gamma
    np.testing.assert_allclose(primitives.rms_norm(np.float32(x), np.float32(gamma), 1e-5), expected, atol=1e-5)


def test_dense_takes_a_table_for_a_kernel(primitives):
    x, table = random(2, 3, 8), random(11, 8, seed=1)
    got = primitives.dense(np.float32(x), np.float32(table), transpose_kernel=True)
    np.testing.assert_allclose(got, x @ table.T, atol=1e-5)


def test_a_cache_takes_new_tokens_at_their_place():
    cache, new = np.zeros((2, 3, 6, 4), "float32"), np.float32(random(2, 3, 2, 4))
    expected = cache.copy()
    expected[:, :, 3:5] = new
    np.testing.assert_array_equal(ops.update_cache(cache, new, 3), expected)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_max_and_attention_pool_see_real_tokens_only(dtype):
    x, scores = np.float32(random(3, 4, 5)) - 3, np.float32(random(3, 4, seed=1))
    mask = np.array([[1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]])
    tolerance = 1e-6 if dtype == "float32" else 0.05
    largest = keras.ops.cast(ops.max_pool(keras.ops.cast(x, dtype), mask), "float32")
    average = keras.ops.cast(ops.attention_pool(keras.ops.cast(x, dtype), scores, mask), "float32")
    for row, length in ((0, 2), (1, 4)):
        weights = softmax(scores[row, :length].astype("float64"))
        np.testing.assert_allclose(largest[row], x[row, :length].max(0), atol=tolerance)
        np.testing.assert_allclose(average[row], weights @ x[row, :length], atol=tolerance)
    assert not np.array(largest)[2].any()
    assert not np.array(average)[2].any()


def test_attention_drops_weights_not_outputs(primitives):
    q, k, v = (np.float32(random(2, 2, 7, 4, seed=i)) for i in range(3))
    context = primitives.attention(q, k, v, dropout=(0.4, 5))
    kept = np.array(primitives.dropout(np.ones((2, 2, 7, 7), "float32"), 0.4, 5)).astype("float64")
    assert 0 < (kept == 0).mean() < 1
    weights = softmax(np.einsum("bhqd,bhkd->bhqk", q.astype("float64"), k) / 2)
    np.testing.assert_allclose(context, (weights * kept) @ v, atol=1e-5)


@pytest.mark.parametrize("key_heads", [4, 2, 1])
def test_compiled_attention_with_dropout_has_the_gradient_of_the_formula(key_heads):
    """The formula is computed by TensorFlow in float64, with the decisions that the compiled dropout makes."""
    import tensorflow as tf

    arrays = [random(2, heads, 5, 4, seed=i) for i, heads in enumerate((4, key_heads, key_heads))]
    arrays += [random(2, 1, 5, 5, seed=3)]
    upstream = random(2, 4, 5, 4, seed=4)
    with ops.compiled_elementwise():
        kept = np.array(ops.dropout(np.ones((2, 4, 5, 5), "float32"), 0.3, 7)).astype("float64")
    assert 0.1 < (kept == 0).mean() < 0.5

    def formula(q, k, v, bias):
        k, v = (tf.repeat(x, 4 // key_heads, axis=1) for x in (k, v))
        weights = tf.nn.softmax(tf.matmul(q, k, transpose_b=True) / 2 + bias)
        return tf.matmul(weights * kept, v)

    def compiled(*tensors):
        with ops.compiled_elementwise():
            return ops.attention(*tensors, dropout=(0.3, 7))

    results = []
    for function, dtype in ((formula, "float64"), (compiled, "float32")):
        tensors = [tf.constant(x, dtype) for x in arrays]
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            context = function(*tensors)
        results.append([context, *tape.gradient(context, tensors, output_gradients=tf.constant(upstream, dtype))])
    for expected, found in zip(*results, strict=True):
        np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize("compiled", [False, True])
def test_an_update_of_adamw_by_hand(primitives, compiled):
    gradient, mean, square, value = (np.float32(random(3, 4, seed=i)) for i in range(4))
    square = square**2
    rate, epsilon, decay, scale, betas = 0.1, 1e-3, 0.01, 0.5, (0.9, 0.99)
    with ops.compiled_elementwise(compiled):
        scalars = (np.float32(x) for x in (rate, epsilon, decay, scale))
        found = primitives.adamw_update(gradient, mean, square, value, *scalars, betas)
    g = gradient.astype("float64") * scale
    m, v = 0.9 * mean + 0.1 * g, 0.99 * square + 0.01 * g**2
    expected = (m, v, value - rate * m / (np.sqrt(v) + epsilon) - decay * value)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_the_sum_of_squares_is_float32(primitives):
    x = random(30, 50)
    np.testing.assert_allclose(primitives.sum_of_squares(np.float32(x)), (x**2).sum(), rtol=1e-5)
    low = primitives.sum_of_squares(keras.ops.cast(np.full((4000,), 3.0), "bfloat16"))
    assert float(low) == 36000


@pytest.mark.parametrize("shape", [(7,), (3, 5), (40, 50, 25)])
def test_dropout_keeps_the_mean_and_is_fixed_by_its_seed(primitives, shape):
    x = np.ones(shape, "float32")
    dropped = np.array(primitives.dropout(x, 0.1, 3))
    assert dropped.shape == shape
    kept = dropped[dropped != 0]
    np.testing.assert_allclose(kept, 1 / 0.9, rtol=1e-4)
    np.testing.assert_array_equal(dropped, primitives.dropout(x, 0.1, 3))
    if x.size > 10_000:
        # 5 standard deviations of the share of 50,000 values that are dropped
        assert abs(np.mean(dropped == 0) - 0.1) < 5 * math.sqrt(0.1 * 0.9 / x.size)
        other = np.array(primitives.dropout(x, 0.1, 4))
        assert np.mean((dropped == 0) == (other == 0)) < 0.9


def test_both_implementations_have_equal_gradients():
    import tensorflow as tf

    values = [np.float32(random(2, 5, 16)), *(np.float32(random(16, 16, seed=i)) for i in (1, 2, 3))]
    gamma, beta = np.float32(random(16, seed=4)), np.float32(random(16, seed=5))
    results = []
    for name in IMPLEMENTATIONS:
        primitives = importlib.import_module(name)
        variables = [tf.Variable(v) for v in values]
        with tf.GradientTape() as tape:
            x = primitives.layer_norm(tf.convert_to_tensor(variables[0]), gamma, beta, 1e-6)
            q, k, v = (tf.reshape(primitives.dense(x, w, activation="gelu"), (2, 4, 5, 4)) for w in variables[1:])
            loss = tf.reduce_sum(primitives.attention(q, k, v) ** 2)
        results.append(tape.gradient(loss, variables))
    for ours, plain in zip(*results, strict=True):
        np.testing.assert_allclose(ours, plain, rtol=1e-3, atol=1e-4)


def test_attention_gradient_equals_finite_differences():
    import tensorflow as tf

    q, k, v = (random(1, 2, 3, 4, seed=i) for i in range(3))
    bias = np.array([[[[0.0, 0.0, -30000.0]]]])
    weight = random(1, 2, 3, 4, seed=9)
    variables = [tf.Variable(np.float32(a)) for a in (q, k, v)]
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(ops.attention(*variables, bias=np.float32(bias)) * np.float32(weight))
    gradients = tape.gradient(loss, variables)

    def value(arrays):
        return (attention_reference(*arrays, bias, 1)[0] * weight).sum()

    step = 1e-6
    for index, gradient in enumerate(gradients):
        for position in np.ndindex(q.shape):
            arrays = [q.copy(), k.copy(), v.copy()]
            arrays[index][position] += step
            upper = value(arrays)
            arrays[index][position] -= 2 * step
            numeric = (upper - value(arrays)) / (2 * step)
            assert abs(numeric - float(gradient.numpy()[position])) < 1e-4


def test_products_in_bfloat16_round_the_factors_only(primitives):
    x, kernel, bias = (np.float32(random(*shape, seed=i)) for i, shape in enumerate([(3, 4, 64), (64, 8), (8,)]))
    exact = np.array(primitives.dense(x, kernel, bias))
    with ops.products_in("bfloat16"):
        rounded = primitives.dense(x, kernel, bias)
        attended = primitives.attention(*[x[:, np.newaxis]] * 3)
    assert keras.backend.standardize_dtype(rounded.dtype) == "float32"
    np.testing.assert_allclose(rounded, exact, atol=0.15)
    np.testing.assert_allclose(attended, primitives.attention(*[x[:, np.newaxis]] * 3), atol=0.05)
    assert np.abs(np.array(rounded) - exact).max() > 1e-5, "nothing was rounded"
    np.testing.assert_array_equal(primitives.dense(x, kernel, bias), exact, "the block must end")


def test_products_in_refuses_other_dtypes():
    with pytest.raises(ValueError, match="Products can be in float32"), ops.products_in("float16"):
        pass


def gradients_of(function, *arrays):
    """Returns the value of a function and the gradients of its weighted sum."""
    import tensorflow as tf

    variables = [tf.Variable(np.float32(a)) for a in arrays]
    with tf.GradientTape() as tape:
        value = function(*variables)
        loss = tf.reduce_sum(tf.cast(value, tf.float32) * np.float32(random(*value.shape, seed=7)))
    return [value.numpy(), *(g.numpy() for g in tape.gradient(loss, variables))]


COMPILED = {
    **{
        f"dense {name}": (
            functools.partial(ops.dense, activation=name),
            (random(3, 7, 8) * 2, random(8, 5, seed=1), random(5, seed=2)),
        )
        for name in ops.ACTIVATIONS
    },
    "layer_norm": (
        functools.partial(ops.layer_norm, epsilon=1e-6),
        (random(3, 7, 24) * 3 + 5, random(24, seed=1), random(24, seed=2)),
    ),
    "rms_norm": (functools.partial(ops.rms_norm, epsilon=1e-6), (random(3, 7, 24) * 3 + 5, random(24, seed=1))),
    "attention of shared keys": (
        ops.attention,
        [random(2, 4, 5, 4), random(2, 2, 5, 4, seed=1), random(2, 2, 5, 4, seed=2)],
    ),
    "attention": (ops.attention, [random(2, 3, 5, 4, seed=i) * 2 for i in range(3)]),
    "attention with a bias": (ops.attention, [*(random(2, 3, 5, 4, seed=i) for i in range(3)), random(2, 1, 1, 5)]),
    "no rows": (functools.partial(ops.dense, activation="gelu"), (np.zeros((0, 7, 8)), random(8, 5), random(5))),
}


@pytest.mark.parametrize("case", COMPILED)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_compiled_parts_agree_with_the_plain_ones(case, dtype):
    function, arrays = COMPILED[case]
    with ops.products_in(dtype):
        plain = gradients_of(function, *arrays)
        with ops.compiled_elementwise():
            compiled = gradients_of(function, *arrays)
    for ours, expected in zip(compiled, plain, strict=True):
        assert ours.shape == expected.shape
        # A rounding of bfloat16 is 2 ** -9 of a value; there are a few of them one after the other.
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=2e-5 if dtype == "float32" else 0.05)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_compiled_dropout_gives_the_gradient_of_the_values_that_it_kept(dtype):
    import tensorflow as tf

    x = tf.ones((40, 50, 25), dtype)
    with ops.compiled_elementwise(), tf.GradientTape() as tape:
        tape.watch(x)
        dropped = ops.dropout(x, 0.1, 3)
    dropped, gradient = (tf.cast(t, tf.float32).numpy() for t in (dropped, tape.gradient(dropped, x)))
    np.testing.assert_array_equal(gradient, dropped)
    np.testing.assert_allclose(dropped[dropped != 0], 1 / 0.9, rtol=1e-6 if dtype == "float32" else 4e-3)
    gone = dropped == 0
    assert abs(gone.mean() - 0.1) < 5 * math.sqrt(0.1 * 0.9 / x.numpy().size)
    # Neighbours along every axis, and other seeds, fall independently: 0.01 of pairs are both gone.
    spread = 5 * math.sqrt(0.01 * 0.99 / x.numpy().size)
    pairs = [gone[1:] & gone[:-1], gone[:, 1:] & gone[:, :-1], gone[..., 1:] & gone[..., :-1]]
    for seed in (4, 5, 6, 2**31 - 1):
        with ops.compiled_elementwise():
            pairs.append(gone & (tf.cast(ops.dropout(x, 0.1, seed), tf.float32).numpy() == 0))
    for both in pairs:
        assert abs(both.mean() - 0.01) < spread


def test_compiled_dropout_draws_anew_at_every_step():
    import tensorflow as tf

    generator = keras.random.SeedGenerator(5)

    @tf.function
    def drop():
        with ops.compiled_elementwise():
            return ops.dropout(tf.ones((100, 100)), 0.5, generator)

    calls = [drop().numpy() == 0 for _ in range(8)]
    for first, second in itertools.combinations(calls, 2):
        assert abs((first & second).mean() - 0.25) < 5 * math.sqrt(0.25 * 0.75 / 10_000)


def test_compiled_parts_end_with_their_block():
    x = np.float32(random(4, 8))

    def operations():
        import tensorflow as tf

        traced = tf.function(lambda x: ops.layer_norm(x, np.ones(8, "float32"), np.zeros(8, "float32"), 1e-6))
        return {operation.type for operation in traced.get_concrete_function(x).graph.get_operations()}

    with ops.compiled_elementwise():
        assert "PartitionedCall" in operations()
        with ops.compiled_elementwise(False):
            assert "PartitionedCall" not in operations()
    assert "PartitionedCall" not in operations()


def test_sincos_table_by_hand():
    table = ops.sincos_table(4, 4)
    np.testing.assert_allclose(table[0], [0, 1, 0, 1])
    np.testing.assert_allclose(table[3], [math.sin(3), math.cos(3), math.sin(0.03), math.cos(0.03)], rtol=1e-6)


def test_mean_pool_counts_real_tokens_only():
    x = np.array([[[1.0, 2.0], [3.0, 4.0], [100.0, 100.0]], [[5.0, 5.0]] * 3], "float32")
    pooled = np.array(ops.mean_pool(x, np.array([[1, 1, 0], [0, 0, 0]])))
    np.testing.assert_allclose(pooled, [[2, 3], [0, 0]])


def test_bfloat16_is_chosen_where_the_processor_has_it_and_its_products_are_faster(monkeypatch):
    path = pathlib.Path("/proc/cpuinfo")
    flags = set(path.read_text().split()) if path.is_file() else set()
    for seconds, faster in (((1.0, 2.0), False), ((1.0, 0.9), False), ((1.0, 0.4), True)):
        monkeypatch.setattr(precision, "_product_seconds", lambda *_, seconds=seconds: seconds)
        has = precision.has_fast_bfloat16.__wrapped__()
        assert has == (faster and bool({"avx512_bf16", "amx_bf16"} & flags))


def test_the_measured_products_are_those_of_both_dtypes():
    seconds = precision._product_seconds("float32", "bfloat16")
    assert len(seconds) == 2
    assert min(seconds) > 0
