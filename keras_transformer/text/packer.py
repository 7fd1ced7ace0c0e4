"""Packs texts into model inputs: one object for training, SavedModel and TFLite."""

import os
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from keras_transformer.text import folder
from keras_transformer.text.strings import as_strings
from keras_transformer.text.wordpiece import WordPieceTokenizer

TRUNCATIONS = ("head", "head_tail", "windows")


class TextPacker(tf.Module):
    """Turns texts into `token_ids`, `segment_ids` and `padding_mask`: [CLS], the text, [SEP], padding.

    Args:
        tokenizer: A `WordPieceTokenizer`.
        max_length: int. Most tokens in a row, [CLS] and [SEP] included. Defaults to 512.
        truncation: str. What becomes of a longer text: "head" keeps its first tokens, "head_tail" its first and last
            ones, "windows" cuts it into overlapping rows. Defaults to "head".
        head_fraction: float in [0, 1]. For "head_tail", the share of the kept tokens that comes from the beginning.
            Defaults to 0.25 (128 of 510, the best in "How to Fine-Tune BERT for Text Classification?").
        stride: int or None. For "windows", how many tokens after the beginning of one window the next begins; None
            means half a window. Defaults to None.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
    ```python
    from keras_transformer.text import TextPacker, WordPieceTokenizer

    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "good", "film", "##s"]
    packer = TextPacker(WordPieceTokenizer(vocabulary), max_length=5)
    inputs = packer(["A good film", "Films", "a good good film"])
    print(inputs["token_ids"].numpy())  # [[2 5 6 7 3] [2 7 8 3 0] [2 5 6 6 3]]
    print(inputs["padding_mask"].numpy().sum(axis=1))  # [5 4 5]
    ```

    Reference: [How to Fine-Tune BERT for Text Classification?](https://arxiv.org/abs/1905.05583), section 5.3.1.
    """

    def __init__(
        self,
        tokenizer: WordPieceTokenizer,
        max_length: int = 512,
        truncation: str = "head",
        head_fraction: float = 0.25,
        stride: int | None = None,
    ):
        super().__init__(name="text_packer")
        if not isinstance(tokenizer, WordPieceTokenizer):
            raise ValueError(f"tokenizer must be a WordPieceTokenizer. Received: {type(tokenizer).__name__}.")
        _check_length("max_length", max_length)
        if truncation not in TRUNCATIONS:
            raise ValueError(f"truncation must be one of {TRUNCATIONS}. Received: {truncation!r}.")
        if not 0 <= head_fraction <= 1:
            raise ValueError(f"head_fraction must be from 0 to 1. Received: {head_fraction}.")
        if stride is not None and not 1 <= stride <= max_length - 2:
            raise ValueError(
                f"stride must be from 1 to max_length - 2 = {max_length - 2}, or tokens between windows would be lost. "
                f"Received: {stride}."
            )
        self.tokenizer = tokenizer
        self.max_length = int(max_length)
        self.truncation = truncation
        self.head_fraction = float(head_fraction)
        self.stride = None if stride is None else int(stride)

    def __call__(self, texts: tf.Tensor | Sequence[str], length: int | None = None) -> dict[str, tf.Tensor]:
        """Packs texts.

        Args:
            texts: (batch,) or () string tensor, a list of str or bytes, or one str.
            length: int or None. Length of the rows; None means the longest of the batch. Texts are cut to `length` or
                `max_length`, whichever is less. Defaults to None.

        Returns:
            dict of `token_ids`, `segment_ids` (all 0) and `padding_mask` (1 for tokens), (batch, length) int32 each;
            (length,) for one text. For "windows", one row for each window: `windows` tells whose each is.

        Raises:
            ValueError: If `length` is less than 3, or too short for the stride.
        """
        texts = as_strings(texts)
        if texts.shape.rank == 0 and self.truncation != "windows":
            return {name: values[0] for name, values in self(texts[None], length).items()}
        values, starts, counts, _ = self._rows(texts, length)
        return self._pack(values, starts, counts, length)

    def tokens(self, texts: tf.Tensor | Sequence[str]) -> tf.RaggedTensor:
        """Returns the rows without padding: [CLS], the truncated text, [SEP].

        Args:
            texts: As for a call.

        Returns:
            (batch, None) int32 ragged tensor. For "windows", one row for each window.
        """
        return self.windows(texts)[0]

    def windows(self, texts: tf.Tensor | Sequence[str]) -> tuple[tf.RaggedTensor, tf.Tensor]:
        """Returns the rows without padding, and whose each is.

        Args:
            texts: As for a call.

        Returns:
            The rows, (rows, None) int32 ragged tensor, in the order of the texts, and `example_ids`, (rows,) int32, the
            index of the text of each row. Only for "windows" can a text have several rows.
        """
        values, starts, counts, example_ids = self._rows(as_strings(texts), None)
        packed = self._pack(values, starts, counts, None)
        lengths = tf.reduce_sum(packed["padding_mask"], axis=1)
        rows = tf.RaggedTensor.from_tensor(packed["token_ids"], lengths=tf.cast(lengths, tf.int64))
        return rows, example_ids

    def pack(self, rows: tf.RaggedTensor, length: int | None = None) -> dict[str, tf.Tensor]:
        """Pads rows that `tokens` or `windows` returned.

        Args:
            rows: (rows, None) int32 ragged tensor of [CLS] .. [SEP].
            length: int or None. Length of the rows; None means the longest. Defaults to None.

        Returns:
            dict of `token_ids`, `segment_ids` and `padding_mask`, (rows, length) int32 each.

        Raises:
            tf.errors.InvalidArgumentError: If a row is longer than `length`.
        """
        lengths = tf.cast(rows.row_lengths(), tf.int32)
        if length is not None:
            _check_length("length", length)
            tf.debugging.assert_less_equal(
                lengths, length, f"A row is longer than length={length}: pack texts instead."
            )
        token_ids = rows.to_tensor(self.tokenizer.pad_id, shape=[None, length])
        return _with_mask(token_ids, lengths)

    def tflite_supported(self) -> tuple[bool, str]:
        """Says whether the packer goes into a `.tflite` that takes text.

        Returns:
            (True, "") or (False, the reason).
        """
        if self.truncation == "windows":
            return False, (
                "truncation='windows' makes another number of rows for every text, and a .tflite has one row of scores "
                "for each text. Export with 'head' or 'head_tail'."
            )
        return True, ""

    def save(self, path: str | os.PathLike) -> None:
        """Writes `vocab.txt` and `tokenizer_config.json`, which Hugging Face's tokenizers read as well.

        Args:
            path: Folder; made if it is not there.
        """
        folder.save(path, self.tokenizer, self.get_config())

    @classmethod
    def load(cls, path: str | os.PathLike, **overrides: Any) -> "TextPacker":
        """Reads a folder that `save` or Hugging Face wrote.

        Args:
            path: Folder with `tokenizer_config.json` and `vocab.txt`, or with a WordPiece `tokenizer.json`.
            **overrides: Arguments of the constructor that replace those in the folder.

        Returns:
            A `TextPacker`.

        Raises:
            FileNotFoundError: If the folder has no vocabulary.
            ValueError: If the folder holds another kind of tokenizer, or a broken file.
        """
        tokenizer, config = folder.load(path)
        unknown = set(overrides) - {"max_length", "truncation", "head_fraction", "stride"}
        if unknown:
            raise ValueError(
                f"max_length, truncation, head_fraction and stride can be replaced. Received: {sorted(unknown)}."
            )
        return cls(WordPieceTokenizer(**tokenizer), **config | overrides)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor, but for the tokenizer."""
        return {
            "max_length": self.max_length,
            "truncation": self.truncation,
            "head_fraction": self.head_fraction,
            "stride": self.stride,
        }

    def _budget(self, length: int | None) -> int:
        """How many tokens of a text fit into a row."""
        if length is not None:
            _check_length("length", length)
        return min(length or self.max_length, self.max_length) - 2

    def _rows(self, texts: tf.Tensor, length: int | None) -> tuple[tf.Tensor, ...]:
        """Returns all tokens, and where each row's begin, how many there are, and the row's text."""
        budget = self._budget(length)
        texts = texts[None] if texts.shape.rank == 0 else texts
        values, _, _, row_splits = self.tokenizer.flat_tokens(texts)
        starts = row_splits[:-1]
        counts = row_splits[1:] - starts
        example_ids = tf.range(tf.shape(starts)[0])
        if self.truncation != "windows":
            return values, starts, counts, example_ids
        stride = self.stride or max(1, budget // 2)
        if stride > budget:
            raise ValueError(
                f"Windows of this length would leave out tokens: stride {stride} is more than the {budget} tokens of a "
                f"window. Received: length={length}."
            )
        num_windows = 1 + tf.maximum(counts - budget + stride - 1, 0) // stride
        example_ids = tf.repeat(example_ids, num_windows)
        first_window = tf.cumsum(num_windows, exclusive=True)
        skipped = stride * (tf.range(tf.shape(example_ids)[0]) - tf.gather(first_window, example_ids))
        counts = tf.minimum(tf.gather(counts, example_ids) - skipped, budget)
        return values, tf.gather(starts, example_ids) + skipped, counts, example_ids

    def _pack(
        self, values: tf.Tensor, starts: tf.Tensor, counts: tf.Tensor, length: int | None
    ) -> dict[str, tf.Tensor]:
        """Gathers the rows: slices of ragged tensors have no TFLite operation."""
        budget = self._budget(length)
        kept = tf.minimum(counts, budget)
        width = length - 2 if length is not None else tf.reduce_max(tf.concat([kept, [0]], 0))
        columns = tf.range(width)
        places = starts[:, None] + columns
        if self.truncation == "head_tail":
            head = round(self.head_fraction * budget)
            places += (counts - kept)[:, None] * tf.cast(columns >= head, tf.int32)
        # One more value, so that there is something to gather from when no text has a token.
        values = tf.concat([values, [self.tokenizer.pad_id]], 0)
        body = tf.gather(values, tf.minimum(places, tf.shape(values)[0] - 1))
        inside = tf.cast(columns < kept[:, None], tf.int32)
        body = body * inside + self.tokenizer.pad_id * (1 - inside)
        edge = tf.ones_like(kept)[:, None]
        token_ids = tf.concat([self.tokenizer.cls_id * edge, body, self.tokenizer.pad_id * edge], 1)
        ends_here = tf.cast(tf.equal(tf.range(width + 2), kept[:, None] + 1), tf.int32)
        token_ids += (self.tokenizer.sep_id - self.tokenizer.pad_id) * ends_here
        return _with_mask(token_ids, kept + 2)


def _with_mask(token_ids: tf.Tensor, lengths: tf.Tensor) -> dict[str, tf.Tensor]:
    padding_mask = tf.cast(tf.range(tf.shape(token_ids)[1]) < lengths[:, None], tf.int32)
    return {
        "token_ids": token_ids,
        "segment_ids": tf.zeros_like(token_ids),
        "padding_mask": padding_mask,
    }


def _check_length(name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 3:
        raise ValueError(f"{name} must be an integer of at least 3: [CLS], one token, [SEP]. Received: {value!r}.")
