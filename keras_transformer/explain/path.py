"""The straight path from a baseline text to a text in embedding space, and the model along it, in batches."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from keras_transformer.explain.words import SPECIAL, Row
from keras_transformer.models import TextClassifier
from keras_transformer.text import TextPacker

BASELINES = ("pad", "mask", "zero")
# Rows are padded to multiples of this, so that a batch holds rows of nearly one length.
_MULTIPLE = 64


class EmbeddingPath:
    """Logits of rows, and gradients along the path from the baseline's embeddings to theirs.

    Args:
        model: TextClassifier.
        packer: TextPacker that the rows come from.
        baseline: str. "pad" and "mask": the same row with the padding or mask token for every token of a word, at the
            same positions; "zero": zero vectors. Default "pad".
        tokens_per_batch: int, most tokens in a batch, padding included. Default 4096.

    Raises:
        ValueError: for another baseline, or if the tokenizer has no token for it.
    """

    def __init__(
        self,
        model: TextClassifier,
        packer: TextPacker,
        baseline: str = "pad",
        tokens_per_batch: int = 4096,
    ):
        if baseline not in BASELINES:
            raise ValueError(f"`baseline` must be one of {BASELINES}. Received: {baseline!r}")
        self._filler = packer.tokenizer.mask_id if baseline == "mask" else packer.pad_id
        self._scale = tf.constant(0.0 if baseline == "zero" else 1.0)
        self._pad_id = packer.pad_id
        self._tokens_per_batch = tokens_per_batch
        self._longest = model.encoder.config.max_length
        self._logits, self._contributions = _functions(model)

    def logits(self, rows: Sequence[Row], alpha: float = 1.0) -> np.ndarray:
        """Compute the logits at one point of the path.

        Args:
            rows: sequence of Row.
            alpha: float, 0 for the baseline, 1 for the text itself. Default 1.

        Returns:
            float64 array, shape (rows, outputs).
        """
        result = [None] * len(rows)
        for chosen, inputs in self._batches(rows, [(i, alpha) for i in range(len(rows))]):
            for (i, _), values in zip(chosen, self._logits(*inputs, self._scale).numpy(), strict=True):
                result[i] = values
        return np.array(result, dtype=np.float64)

    def integrate(
        self, rows: Sequence[Row], selectors: np.ndarray, steps: int, done: Callable[[int], object] | None = None
    ) -> list[np.ndarray]:
        """Integrate the gradient along the path, by Gauss-Legendre quadrature.

        Args:
            rows: sequence of Row.
            selectors: float array, shape (rows, outputs): the integrated score is the sum of logits times this.
            steps: int, number of points.
            done: called after each batch with the number of points in it. Default None.

        Returns:
            One float64 array of shape (length,) a row: the share of each token in the change of the score.
        """
        nodes, weights = np.polynomial.legendre.leggauss(steps)
        alphas, weights = (nodes + 1) / 2, weights / 2
        result = [np.zeros(row.token_ids.size) for row in rows]
        points = [(i, step) for i in range(len(rows)) for step in range(steps)]
        for chosen, inputs in self._batches(rows, [(i, alphas[step]) for i, step in points], points):
            selected = tf.constant(selectors[[i for i, _ in chosen]], tf.float32)
            for (i, step), values in zip(
                chosen, self._contributions(*inputs, self._scale, selected).numpy(), strict=True
            ):
                result[i] += weights[step] * values[: result[i].size]
            if done is not None:
                done(len(chosen))
        return result

    def _batches(self, rows: Sequence[Row], points: list[tuple[int, float]], names: list | None = None):
        """Yield (names of the points, inputs) of batches of nearly equal length, the longest first."""
        order = sorted(range(len(points)), key=lambda p: -rows[points[p][0]].token_ids.size)
        while order:
            longest = rows[points[order[0]][0]].token_ids.size
            length = max(longest, min(math.ceil(longest / _MULTIPLE) * _MULTIPLE, self._longest))
            size = max(1, self._tokens_per_batch // length)
            taken, order = order[:size], order[size:]
            token_ids = np.full((len(taken), length), self._pad_id, np.int32)
            padding_mask = np.zeros_like(token_ids)
            baseline_ids = token_ids.copy()
            for place, point in enumerate(taken):
                row = rows[points[point][0]]
                token_ids[place, : row.token_ids.size] = row.token_ids
                padding_mask[place, : row.token_ids.size] = 1
                # The frame stays: all of the change is then that of the text's own tokens.
                baseline_ids[place, : row.token_ids.size] = np.where(row.words == SPECIAL, row.token_ids, self._filler)
            alphas = np.array([points[point][1] for point in taken], np.float32)
            chosen = [(names or points)[point] for point in taken]
            yield chosen, tuple(map(tf.constant, (token_ids, baseline_ids, padding_mask, alphas)))


def _functions(model: TextClassifier) -> tuple:
    """The two graphs of a model, traced once in its life: explaining one text must not cost seconds of tracing."""
    # Past Keras's own __setattr__, which would save them with the model.
    if "_explain_functions" not in vars(model):
        vars(model)["_explain_functions"] = _trace(model)
    return vars(model)["_explain_functions"]


def _trace(model: TextClassifier) -> tuple:
    encoder = model.encoder
    ids, floats = tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.float32)
    # One signature for every batch, whatever its length: one trace.
    signature = [ids, ids, ids, floats, tf.TensorSpec([], tf.float32)]

    def ends(token_ids, baseline_ids, scale):
        text, baseline = (encoder.embed(i, tf.zeros_like(i), training=False) for i in (token_ids, baseline_ids))
        return baseline * tf.cast(scale, baseline.dtype), text

    def along(start, end, alphas):
        return start + tf.cast(alphas, end.dtype)[:, None, None] * (end - start)

    def logits_at(points, padding_mask):
        return model.classify(encoder.encode(points, padding_mask, training=False), padding_mask, training=False)

    @tf.function(input_signature=signature)
    def logits(token_ids, baseline_ids, padding_mask, alphas, scale):
        return logits_at(along(*ends(token_ids, baseline_ids, scale), alphas), padding_mask)

    @tf.function(input_signature=[*signature, tf.TensorSpec([None, model.num_outputs], tf.float32)])
    def contributions(token_ids, baseline_ids, padding_mask, alphas, scale, selectors):
        start, end = ends(token_ids, baseline_ids, scale)
        points = along(start, end, alphas)
        # Only the points are watched: no gradient of a weight is computed.
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(points)
            selected = tf.reduce_sum(logits_at(points, padding_mask) * selectors)
        gradients = tape.gradient(selected, points)
        return tf.reduce_sum(tf.cast((end - start) * gradients, tf.float32), axis=-1)

    return logits, contributions
