"""Pure functions on tensors: the mathematics of the package, without state.

The few primitives that decide speed exist twice, as TensorFlow ops in the forms that its CPU kernels fuse and as
`keras.ops`; this module picks the pair that fits the running backend. Everything else is written once.

The environment variable `KERAS_TRANSFORMER_KERAS_OPS` names primitives, with commas, that `keras.ops` computes under
TensorFlow, too, or is "all": for measuring what the other forms are worth (`benchmarks/ablation.py`).
"""

import os

import keras

from keras_transformer.ops.caching import update_cache
from keras_transformer.ops.compilation import compiled_elementwise, is_compiled_elementwise
from keras_transformer.ops.masks import (
    attention_bias,
    block_diagonal_mask,
    causal_mask,
    combine_masks,
    example_masks,
    prefix_mask,
    row_valid,
    sliding_window_mask,
)
from keras_transformer.ops.pooling import attention_pool, first_places, first_pool, max_pool, mean_pool
from keras_transformer.ops.positions import (
    alibi_bias,
    alibi_slopes,
    relative_buckets,
    relative_positions,
    relative_scores,
    rotary_frequencies,
    rotate,
    rotation,
    sincos_table,
)
from keras_transformer.ops.precision import choose_product_dtype, has_fast_bfloat16, products_in
from keras_transformer.ops.recomputation import recompute
from keras_transformer.ops.sizes import reshape_sizes
from keras_transformer.ops.taking import take_tokens

if keras.backend.backend() == "tensorflow":
    from keras_transformer.ops._tensorflow import (
        adamw_update,
        attention,
        compiled,
        dense,
        dropout,
        layer_norm,
        lookup,
        rms_norm,
        sum_of_squares,
    )
else:
    from keras_transformer.ops._keras import (
        adamw_update,
        attention,
        compiled,
        dense,
        dropout,
        layer_norm,
        lookup,
        rms_norm,
        sum_of_squares,
    )

if _by_keras := os.environ.get("KERAS_TRANSFORMER_KERAS_OPS"):
    from keras_transformer.ops import _keras

    _names = ("adamw_update", "attention", "dense", "dropout", "layer_norm", "lookup", "rms_norm", "sum_of_squares")
    _wanted = _names if _by_keras == "all" else _by_keras.split(",")
    if not set(_wanted) <= set(_names):
        raise ValueError(f"KERAS_TRANSFORMER_KERAS_OPS must be all, or some of {_names}. Received: {_by_keras!r}")
    globals().update({name: getattr(_keras, name) for name in _wanted})

__all__ = [
    "ACTIVATIONS",
    "adamw_update",
    "alibi_bias",
    "alibi_slopes",
    "attention",
    "attention_bias",
    "attention_pool",
    "block_diagonal_mask",
    "causal_mask",
    "choose_product_dtype",
    "combine_masks",
    "compiled",
    "compiled_elementwise",
    "dense",
    "dropout",
    "example_masks",
    "first_places",
    "first_pool",
    "has_fast_bfloat16",
    "is_compiled_elementwise",
    "layer_norm",
    "lookup",
    "max_pool",
    "mean_pool",
    "prefix_mask",
    "products_in",
    "recompute",
    "relative_buckets",
    "relative_positions",
    "relative_scores",
    "reshape_sizes",
    "rms_norm",
    "rotary_frequencies",
    "rotate",
    "rotation",
    "row_valid",
    "sincos_table",
    "sliding_window_mask",
    "sum_of_squares",
    "take_tokens",
    "update_cache",
]

ACTIVATIONS = ("linear", "relu", "gelu", "gelu_tanh", "silu", "tanh")
"""Names that `dense` accepts; `gelu` is the exact form with the error function, `gelu_tanh` its approximation."""
