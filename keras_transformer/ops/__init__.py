"""Pure functions on tensors: the mathematics of the package, without state.

The few primitives that decide speed exist twice, as TensorFlow ops in the forms that its CPU kernels fuse and as
`keras.ops`; this module picks the pair that fits the running backend. Everything else is written once.
"""

import keras

from keras_transformer.ops.compilation import compiled_elementwise
from keras_transformer.ops.masks import attention_bias, row_valid
from keras_transformer.ops.pooling import mean_pool
from keras_transformer.ops.positions import sincos_table
from keras_transformer.ops.precision import choose_product_dtype, has_fast_bfloat16, products_in

if keras.backend.backend() == "tensorflow":
    from keras_transformer.ops._tensorflow import attention, dense, dropout, layer_norm, lookup
else:
    from keras_transformer.ops._keras import attention, dense, dropout, layer_norm, lookup

__all__ = [
    "ACTIVATIONS",
    "attention",
    "attention_bias",
    "choose_product_dtype",
    "compiled_elementwise",
    "dense",
    "dropout",
    "has_fast_bfloat16",
    "layer_norm",
    "lookup",
    "mean_pool",
    "products_in",
    "row_valid",
    "sincos_table",
]

ACTIVATIONS = ("linear", "relu", "gelu", "gelu_tanh", "silu", "tanh")
"""Names that `dense` accepts; `gelu` is the exact form with the error function, `gelu_tanh` its approximation."""
