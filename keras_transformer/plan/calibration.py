"""Measures the machine that this runs on: products, passes over values, an update, and small training steps."""

import dataclasses
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

from keras_transformer.plan import reference_step
from keras_transformer.plan.machine import PASSES, Machine
from keras_transformer.plan.work import FLOAT, LOW, Product

Clock = Callable[[Callable[[], Any]], float]

# Shapes of no published model: those are for checking. The last ones are the long and thin products of attention.
_PRODUCTS = (
    Product(1, 1280, 640, 640),
    Product(1, 1280, 640, 2560),
    Product(1, 640, 1280, 2560),
    Product(1, 320, 960, 960),
    Product(96, 160, 40, 160),
    Product(96, 160, 160, 40),
    Product(24, 320, 80, 320),
)
_ROWS, _WIDTH = 3072, 1280  # values of a pass: more than caches hold
_SECONDS = 0.12  # for each figure
_PARAMETERS = (2560, 1280)


def calibrate(name: str = "here", seconds: float = _SECONDS) -> Machine:
    """Measures this machine, in about 20 seconds where nothing else runs.

    Args:
        name: Name of the result. Default "here".
        seconds: Seconds for each of about forty figures. Default 0.12.

    Returns:
        `Machine`, without network and price.

    Raises:
        RuntimeError: If the backend is not TensorFlow.
    """
    import keras

    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(
            "Calibration measures TensorFlow: set KERAS_BACKEND=tensorflow, or pass a machine's JSON file. "
            f"Received: {keras.backend.backend()}"
        )

    def clock(call: Callable[[], Any]) -> float:
        return median_seconds(call, seconds)

    # First, while nothing else has been loaded: it tells the memory of the libraries, too.
    overheads = reference_step.overheads(clock)
    rates = _products(clock)
    passes = _passes(clock)
    machine = Machine(
        name=name,
        **rates,
        memory_bandwidth=PASSES["add"][0] * FLOAT / passes["add"][0],
        memory=_memory(),
        passes=passes,
        **overheads,
    )
    return dataclasses.replace(machine, step_factor=reference_step.factors(machine, clock))


def median_seconds(call: Callable[[], Any], seconds: float) -> float:
    """Returns the median seconds of calls, of as many as fit; the first two do not count."""
    call()
    call()
    taken = []
    stop = time.perf_counter() + seconds
    while len(taken) < 3 or time.perf_counter() < stop:
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def _products(clock: Clock) -> dict[str, float]:
    """Returns the rates of the arithmetic and the bandwidth that explain the seconds of all products best."""
    import numpy as np

    rows, sizes = [], {"float32": FLOAT, "bfloat16": LOW}
    for column, (dtype, size) in enumerate(sizes.items()):
        for product in _PRODUCTS:
            row = [0.0, 0.0, product.values * size]
            row[column] = product.flops
            rows.append(np.array(row) / _product_seconds(product, dtype, clock))
    rows = np.array(rows)
    # Each product should come to 1: relative errors count.
    found, *_ = np.linalg.lstsq(rows, np.ones(len(rows)), rcond=None)
    if (found <= 0).any():  # noise: then the arithmetic explains all
        found = np.array([*(1 / np.median(rows[rows[:, i] > 0, i]) for i in range(2)), 1e-15])
    float32, bfloat16, byte = (float(value) for value in found)
    return {"float32_flops": 1 / float32, "bfloat16_flops": 1 / bfloat16, "product_bandwidth": 1 / byte}


def _product_seconds(product: Product, dtype: str, clock: Clock) -> float:
    import tensorflow as tf

    def factor(*shape: int) -> tf.Tensor:
        shape = shape if product.count == 1 else (product.count, *shape)
        return tf.cast(tf.random.stateless_uniform(shape, (1, 2)), dtype)

    a, b = factor(product.rows, product.inner), factor(product.inner, product.columns)
    run = tf.function(lambda a, b: tf.matmul(a, b), autograph=False)
    return clock(lambda: run(a, b))


def _passes(clock: Clock) -> dict[str, tuple[float, float]]:
    """Returns the seconds for a value of each kind of pass, forwards and backwards."""
    import tensorflow as tf

    from keras_transformer import ops
    from keras_transformer.ops import _tensorflow_compiled as compiled

    vector = tf.zeros((_WIDTH,))
    table = tf.random.stateless_uniform((_ROWS, _WIDTH), (3, 4))
    targets = tf.zeros((_ROWS,), tf.int32)

    @tf.custom_gradient
    def softmax(x):
        weights = tf.nn.softmax(tf.reshape(x, (12, 8, 160, 256)))

        def gradient(dy):
            # As the gradient of attention, which adds up a row from the much smaller context.
            along, seed = tf.zeros((*dy.shape[:-1], 1)), tf.zeros(2, tf.int32)
            return tf.reshape(compiled.scores_gradient(weights, dy, along, 0.0, seed), x.shape)

        return weights, gradient

    def activate(activation: str) -> Callable:
        return lambda x: compiled.bias_activation(x, vector, activation, tf.float32)

    both = (tf.float32, tf.bfloat16)
    kinds = {
        "bias": (activate("linear"), both),
        "activation": (activate("gelu"), both),
        "norm": (lambda x: ops.layer_norm(x, vector, vector, 1e-6), both[:1]),
        "softmax": (softmax, both),
        "dropout": (lambda x: ops.dropout(x, 0.1, 1), both),
        "move": (lambda x: tf.transpose(tf.reshape(x, (-1, 128, 8, 40)), (0, 2, 1, 3)), both[:1]),
        "cast": (lambda x: tf.cast(x, tf.bfloat16), both[:1]),
        "cross_entropy": (lambda x: tf.nn.sparse_softmax_cross_entropy_with_logits(targets, x), both[:1]),
    }
    found = {
        kind if dtype == tf.float32 else f"{kind}_bfloat16": _pass(function, tf.cast(table, dtype), kind, clock)
        for kind, (function, dtypes) in kinds.items()
        for dtype in dtypes
    }
    for dtype, suffix in ((tf.float32, ""), (tf.bfloat16, "_bfloat16")):
        run = tf.function(lambda x, y: x + y, autograph=False)
        x = tf.cast(table, dtype)
        seconds = clock(lambda run=run, x=x: run(x, x)) / (_ROWS * _WIDTH)
        found[f"add{suffix}"] = (seconds, seconds)
    return found | {"update": (_update(clock), 0.0)}


def _pass(function: Callable, x: Any, kind: str, clock: Clock) -> tuple[float, float]:
    import tensorflow as tf

    from keras_transformer import ops

    # The others find their gradient without what comes out forwards, which is then left out of the graph.
    needs_result = kind in ("softmax", "cross_entropy")

    @tf.function(autograph=False)
    def forward(x):
        with ops.compiled_elementwise():
            return function(x)

    @tf.function(autograph=False)
    def backward(x, dy):
        with tf.GradientTape() as tape, ops.compiled_elementwise():
            tape.watch(x)
            y = function(x)
        return tape.gradient(y, x, dy)

    dy = forward(x)
    ahead = clock(lambda: forward(x))
    back = clock(lambda: backward(x, dy)) - (ahead if needs_result else 0)
    size = int(tf.size(x))
    return ahead / size, max(0.0, back) / size


def _update(clock: Clock) -> float:
    """Returns the seconds for a parameter of clipping and AdamW."""
    import keras
    import tensorflow as tf

    from keras_transformer import ops, optimizers

    variables = [keras.Variable(tf.zeros(_PARAMETERS)) for _ in range(3)]
    optimizer = optimizers.AdamW(1e-4, global_clipnorm=1.0)
    optimizer.build(variables)
    gradients = [tf.ones(_PARAMETERS) for _ in variables]

    @tf.function(autograph=False)
    def run(*gradients):
        with ops.compiled_elementwise():
            optimizer.apply(list(gradients), variables)

    return clock(lambda: run(*gradients)) / sum(v.shape[0] * v.shape[1] for v in variables)


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None
