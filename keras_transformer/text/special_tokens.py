"""Finds special tokens that are written in the text, such as `[MASK]`, and makes each one token, as Hugging Face does.

Runs in the graph after WordPiece, on the flat tokens and the bytes of the text, with operations that TFLite has.
"""

import string
from collections.abc import Sequence

import tensorflow as tf
import tensorflow_text


class SpecialTokens(tf.Module):
    """Replaces the pieces of each special token in the text by its id.

    A special token begins and ends with ASCII punctuation, which WordPiece isolates: so its pieces are the same
    wherever it stands, and its first piece begins where it begins.

    Args:
        tokens: The special tokens as they are written in the text.
        ids: int. The id of each.
        pieces: int. The ids of the pieces that WordPiece makes of each.

    Raises:
        ValueError: If a token does not begin and end with ASCII punctuation, or two tokens can overlap.
    """

    def __init__(self, tokens: Sequence[str], ids: Sequence[int], pieces: Sequence[Sequence[int]]):
        super().__init__()
        for token in tokens:
            if token[:1] not in _PUNCTUATION or token[-1:] not in _PUNCTUATION:
                raise ValueError(
                    f"A special token can be found in a text only if it begins and ends with ASCII punctuation, as "
                    f"'[MASK]' does. Received: {token!r}. Use split_special_tokens=True to treat it as plain text."
                )
        for first in tokens:
            for second in tokens:
                begun = any(first.endswith(second[:n]) for n in range(1, len(second)))
                if begun or (first != second and second in first):
                    raise ValueError(f"Special tokens must not overlap in a text. Received: {first!r} and {second!r}.")
        encoded = [token.encode() for token in tokens]
        self._longest = max(map(len, encoded))
        # -1 stands for "any byte" after the end of a shorter token.
        patterns = [[*data, *[-1] * (self._longest - len(data))] for data in encoded]
        with tf.init_scope():
            self._patterns = tf.constant(patterns, tf.int32)
            self._lengths = tf.constant([len(data) for data in encoded], tf.int32)
            self._ids = tf.constant(list(ids), tf.int32)
            self._pieces = tf.constant([len(p) for p in pieces], tf.int32)
            self._first_pieces = tf.constant(sorted({p[0] for p in pieces}), tf.int32)
            self._splitter = tensorflow_text.ByteSplitter()

    def replace(
        self,
        texts: tf.Tensor,
        ids: tf.Tensor,
        starts: tf.Tensor,
        ends: tf.Tensor,
        row_splits: tf.Tensor,
        row_ids: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """Merges the pieces of special tokens.

        Args:
            texts: (batch,) string.
            ids: (tokens,) int32, the pieces of all texts.
            starts: (tokens,) int32, where each piece begins in its text, in bytes.
            ends: (tokens,) int32, where each piece ends.
            row_splits: (batch + 1,) int32, where the pieces of each text begin.
            row_ids: (tokens,) int32, the text of each piece.

        Returns:
            ids, starts, ends and row_splits after merging.
        """
        count = tf.shape(ids)[0]
        # Few pieces can begin a special token ("[" does): look at the bytes of the text at those only.
        places = tf.where(tf.reduce_any(tf.equal(ids[:, None], self._first_pieces), axis=1))[:, 0]
        places = tf.cast(places, tf.int32)
        rows = tf.gather(row_ids, places)
        byte_rows = self._splitter.split(texts)
        byte_splits = tf.cast(byte_rows.row_splits, tf.int32)
        begins = tf.gather(byte_splits, rows) + tf.gather(starts, places)
        left = tf.gather(byte_splits, rows + 1) - begins
        # Room to look beyond the last byte.
        text_bytes = tf.concat([byte_rows.values, tf.zeros([self._longest], tf.uint8)], 0)
        window = tf.gather(text_bytes, begins[:, None] + tf.range(self._longest))
        window = tf.cast(window, tf.int32)[:, None, :]
        same = tf.reduce_all(tf.logical_or(tf.equal(window, self._patterns), tf.less(self._patterns, 0)), axis=2)
        found = tf.cast(tf.logical_and(same, tf.less_equal(self._lengths, left[:, None])), tf.int32)

        # What to add to the ids and ends at the places, where one of the tokens was found.
        is_special = tf.reduce_sum(found, axis=1)
        new_ids = tf.reduce_sum(found * self._ids, axis=1) - is_special * tf.gather(ids, places)
        lengths = tf.reduce_sum(found * self._lengths, axis=1)
        longer = lengths - is_special * (tf.gather(ends, places) - tf.gather(starts, places))
        ids += tf.scatter_nd(places[:, None], new_ids, [count])
        ends += tf.scatter_nd(places[:, None], longer, [count])
        # The pieces after the first are dropped: from the next one on, up to the number of pieces.
        after = places + is_special + tf.reduce_sum(found * (self._pieces - 1), axis=1)
        edges = tf.concat([places + is_special, after], 0)
        steps = tf.scatter_nd(edges[:, None], tf.concat([is_special, -is_special], 0), [count + 1])
        kept = 1 - tf.cumsum(steps)[:count]
        left_over = tf.where(tf.equal(kept, 1))[:, 0]
        kept_before = tf.concat([[0], tf.cumsum(kept)], 0)
        ids, starts, ends = (tf.gather(values, left_over) for values in (ids, starts, ends))
        return ids, starts, ends, tf.gather(kept_before, row_splits)


_PUNCTUATION = tuple(string.punctuation)
