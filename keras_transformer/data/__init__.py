"""Labelled texts from any source, split, encoded and batched by length.

Names of the input pipeline load TensorFlow when they are first used; the rest needs only NumPy.
"""

from keras_transformer.data.curriculum import Curriculum, shorten
from keras_transformer.data.examples import Examples, Splits, fingerprint
from keras_transformer.data.labels import encode_labels
from keras_transformer.data.markup import remove_markup, text_key
from keras_transformer.data.mixing import TaskMixture, make_mixed_dataset
from keras_transformer.data.packing import PackedPlan
from keras_transformer.data.pipeline import make_dataset, make_eval_dataset, predict_in_order
from keras_transformer.data.plan import BatchPlan
from keras_transformer.data.rows import TokenRows, encode, pool_windows
from keras_transformer.data.sources import load
from keras_transformer.data.splitting import from_arrays
from keras_transformer.data.token_cache import TokenCache
from keras_transformer.data.weights import class_weights, example_weights

__all__ = [
    "BatchPlan",
    "Curriculum",
    "Examples",
    "PackedPlan",
    "Splits",
    "TaskMixture",
    "TokenCache",
    "TokenRows",
    "class_weights",
    "encode",
    "encode_labels",
    "example_weights",
    "fingerprint",
    "from_arrays",
    "load",
    "make_dataset",
    "make_eval_dataset",
    "make_mixed_dataset",
    "pool_windows",
    "predict_in_order",
    "remove_markup",
    "shorten",
    "text_key",
]
