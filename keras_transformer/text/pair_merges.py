"""The merges of byte-pair encoding in the graph, for many words at once.

Reference: [Neural Machine Translation of Rare Words with Subword Units](https://arxiv.org/abs/1508.07909).
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

_NEVER = np.iinfo(np.int32).max


class PairMerges(tf.Module):
    """Merges the pair of lowest rank in each word, until none is left that has a rank.

    Args:
        pairs: The ids (left, right) that are merged, by rank, each pair once.
        merged: The id that each pair becomes.

    Reference: [Language Models are Unsupervised Multitask Learners](
    https://openai.com/index/better-language-models/).
    """

    def __init__(self, pairs: Sequence[tuple[int, int]], merged: Sequence[int]):
        super().__init__(name="pair_merges")
        pairs = np.array(pairs, np.int64).reshape(-1, 2)
        merged = np.array(merged, np.int32)
        self._base = int(max(pairs.max(initial=0), merged.max(initial=0))) + 1
        keys = pairs[:, 0] * self._base + pairs[:, 1]
        order = np.argsort(keys)
        at_once = _at_once(pairs, merged)
        self._all_at_once = bool(at_once.all())
        with tf.init_scope():
            # One more, so that there is something to look at when there are no merges.
            self._keys = tf.constant(np.append(keys[order], _NEVER * (_NEVER + 1)))
            self._ranks = tf.constant(np.append(order, _NEVER).astype(np.int32))
            self._merged = tf.constant(np.append(merged[order], 0).astype(np.int32))
            self._at_once = tf.constant(np.append(at_once[order], True))

    def __call__(self, ids: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Merges the symbols of words.

        Args:
            ids: (symbols,) int32, the symbols of all words, one word after the other.
            rows: (symbols,) int32, the word of each symbol: 0, 1, 2, ...

        Returns:
            ids, lengths and rows, (tokens,) int32 each: the tokens, how many symbols each was made of, and the word of
            each.
        """
        count = tf.reduce_max(tf.concat([rows, [-1]], 0)) + 1
        flat = tf.TensorShape([None])
        _, ids, lengths, rows = tf.while_loop(
            lambda more, *_: more,
            lambda _, *state: self._step(count, *state),
            (tf.constant(True), ids, tf.ones_like(ids), rows),
            shape_invariants=(tf.TensorShape([]), flat, flat, flat),
        )
        return ids, lengths, rows

    def _step(
        self, count: tf.Tensor, ids: tf.Tensor, lengths: tf.Tensor, rows: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """Merges in each word all pairs of its lowest rank."""
        keys = tf.cast(ids[:-1], tf.int64) * self._base + tf.cast(ids[1:], tf.int64)
        places = tf.searchsorted(self._keys, keys)
        found = tf.equal(tf.gather(self._keys, places), keys) & tf.equal(rows[:-1], rows[1:])
        ranks = tf.where(found, tf.gather(self._ranks, places), _NEVER)
        lowest = tf.math.unsorted_segment_min(ranks, rows[:-1], count)
        chosen = found & tf.equal(ranks, tf.gather(lowest, rows[:-1]))

        # Of pairs that overlap (three equal symbols), the first counts: every other one in a run.
        index = tf.range(tf.shape(ranks)[0])
        starts = chosen & ~tf.concat([[False], chosen], 0)[:-1]
        begins = tf.concat([[0], tf.cast(tf.where(starts)[:, 0], tf.int32)], 0)
        begins = tf.gather(begins, tf.cumsum(tf.cast(starts, tf.int32)))
        chosen &= tf.equal((index - begins) % 2, 0)
        if not self._all_at_once:
            first = tf.math.unsorted_segment_min(tf.where(chosen, index, _NEVER), rows[:-1], count)
            chosen &= tf.gather(self._at_once, places) | tf.equal(index, tf.gather(first, rows[:-1]))

        padded = tf.concat([chosen, [False]], 0)[: tf.shape(ids)[0]]
        merged = tf.concat([tf.gather(self._merged, places), [0]], 0)[: tf.shape(ids)[0]]
        taken = tf.concat([lengths, [0]], 0)[1:]
        ids = tf.where(padded, merged, ids)
        lengths += tf.where(padded, taken, 0)
        left = tf.where(~tf.concat([[False], chosen], 0)[: tf.shape(ids)[0]])[:, 0]
        ids, lengths, rows = (tf.gather(values, left) for values in (ids, lengths, rows))
        return tf.reduce_any(chosen), ids, lengths, rows


def _at_once(pairs: np.ndarray, merged: np.ndarray) -> np.ndarray:
    """Returns whether all pairs of a rank in a word may be merged in one step, (merges,) bool.

    A merge makes new pairs. If one of these had a lower rank, it would come before the next pair of the same rank. In
    the order of training this hardly happens.
    """
    size = int(max(pairs.max(initial=0), merged.max(initial=0))) + 1
    first_use = np.full(size, len(pairs))
    for rank in range(len(pairs) - 1, -1, -1):
        first_use[pairs[rank]] = rank
    return first_use[merged] > np.arange(len(pairs))
