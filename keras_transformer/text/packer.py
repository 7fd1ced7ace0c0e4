"""Packs texts into model inputs: one object for training, SavedModel and TFLite."""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from keras_transformer.text.folder import CONFIG_FILE, OURS, TOKENIZER_FILE, read_json, write_json
from keras_transformer.text.frame import Frame
from keras_transformer.text.loading import Tokenizer, load_tokenizer
from keras_transformer.text.strings import as_strings
from keras_transformer.text.wordpiece import WordPieceTokenizer

TRUNCATIONS = ("head", "head_tail", "windows")
# Hugging Face writes a huge number where no limit is known.
_LONGEST_LIMIT = 1_000_000


class TextPacker(tf.Module):
    """Turns texts into `token_ids`, `segment_ids` and `padding_mask`: a frame such as [CLS] .. [SEP], then padding.

    Args:
        tokenizer: A `WordPieceTokenizer`, `ByteLevelBPETokenizer` or `SentencePieceTokenizer`.
        max_length: int. Most tokens in a row, those of the frame included. Defaults to 512.
        truncation: str. What becomes of a longer text: "head" keeps its first tokens, "head_tail" its first and last
            ones, "windows" cuts it into overlapping rows. Defaults to "head".
        head_fraction: float in [0, 1]. For "head_tail", the share of the kept tokens that comes from the beginning.
            Defaults to 0.25 (128 of 510, the best in "How to Fine-Tune BERT for Text Classification?").
        stride: int or None. For "windows", how many tokens after the beginning of one window the next begins; None
            means half a window. Defaults to None.
        frame: Frame, or dict of "before" and "after", of the tokens around every text; None means those of the
            tokenizer's class in Hugging Face: [CLS] .. [SEP] for BERT and ALBERT, <s> .. </s> for RoBERTa, .. </s> for
            T5, <s> .. for Llama, none for GPT-2. Defaults to None.

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
        tokenizer: Tokenizer,
        max_length: int = 512,
        truncation: str = "head",
        head_fraction: float = 0.25,
        stride: int | None = None,
        frame: Frame | Mapping[str, Sequence[str]] | None = None,
    ):
        super().__init__(name="text_packer")
        if not isinstance(tokenizer, Tokenizer):
            raise ValueError(
                "tokenizer must be a WordPieceTokenizer, ByteLevelBPETokenizer or SentencePieceTokenizer. "
                f"Received: {type(tokenizer).__name__}."
            )
        if frame is None:
            frame = Frame.of(tokenizer)
        elif not isinstance(frame, Frame):
            frame = Frame(**frame)
        self._frame = _Frame(frame, tokenizer)
        self._check_length("max_length", max_length)
        if truncation not in TRUNCATIONS:
            raise ValueError(f"truncation must be one of {TRUNCATIONS}. Received: {truncation!r}.")
        if not 0 <= head_fraction <= 1:
            raise ValueError(f"head_fraction must be from 0 to 1. Received: {head_fraction}.")
        most = max_length - len(frame)
        if stride is not None and not 1 <= stride <= most:
            raise ValueError(
                f"stride must be from 1 to max_length - {len(frame)} = {most}, or tokens between windows would be "
                f"lost. Received: {stride}."
            )
        self.tokenizer = tokenizer
        self.max_length = int(max_length)
        self.truncation = truncation
        self.head_fraction = float(head_fraction)
        self.stride = None if stride is None else int(stride)

    @property
    def frame(self) -> Frame:
        """The tokens around every text."""
        return self._frame.frame

    @property
    def pad_id(self) -> int:
        """Id that fills rows: the padding token, else the end-of-text or unknown one, which the mask hides as well."""
        return self._frame.pad_id

    def __call__(self, texts: tf.Tensor | Sequence[str], length: int | None = None) -> dict[str, tf.Tensor]:
        """Packs texts.

        Args:
            texts: (batch,) or () string tensor, a list of str or bytes, or one str. Bytes that are not UTF-8 count as
                U+FFFD, which WordPiece drops.
            length: int or None. Length of the rows; None means the longest of the batch. Texts are cut to `length` or
                `max_length`, whichever is less. Defaults to None.

        Returns:
            dict of `token_ids`, `segment_ids` (all 0) and `padding_mask` (1 for tokens), (batch, length) int32 each;
            (length,) for one text. For "windows", one row for each window: `windows` tells whose each is.

        Raises:
            ValueError: If `length` leaves no room for a token, or is too short for the stride.
        """
        texts = as_strings(texts)
        if texts.shape.rank == 0 and self.truncation != "windows":
            return {name: values[0] for name, values in self(texts[None], length).items()}
        values, starts, counts, _ = self._rows(texts, length)
        return self._pack(values, starts, counts, length)

    def tokens(self, texts: tf.Tensor | Sequence[str]) -> tf.RaggedTensor:
        """Returns the rows without padding: the truncated texts in their frames.

        Args:
            texts: As for a call.

        Returns:
            (batch, None) int32 ragged tensor. For "windows", one row for each window.
        """
        return self.windows(texts)[0]

    def whole(self, texts: tf.Tensor | Sequence[str]) -> tf.RaggedTensor:
        """Returns the texts in their frames as they are, however long.

        Args:
            texts: (batch,) string tensor, or a list of str or bytes.

        Returns:
            (batch, None) int32 ragged tensor.
        """
        values, row_splits = self._flat(as_strings(texts))
        ids = tf.RaggedTensor.from_row_splits(values, tf.cast(row_splits, tf.int64), validate=False)
        sides = (tf.tile(tf.constant([side], tf.int32), [ids.nrows(), 1]) for side in self._frame.ids)
        before, after = (tf.RaggedTensor.from_tensor(side) for side in sides)
        return tf.concat([before, ids, after], 1)

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
            rows: (rows, None) int32 ragged tensor of texts in their frames.
            length: int or None. Length of the rows; None means the longest. Defaults to None.

        Returns:
            dict of `token_ids`, `segment_ids` and `padding_mask`, (rows, length) int32 each.

        Raises:
            tf.errors.InvalidArgumentError: If a row is longer than `length`.
        """
        lengths = tf.cast(rows.row_lengths(), tf.int32)
        if length is not None:
            self._check_length("length", length)
            tf.debugging.assert_less_equal(
                lengths, length, f"A row is longer than length={length}: pack texts instead."
            )
        token_ids = rows.to_tensor(self.pad_id, shape=[None, length])
        return _with_mask(token_ids, lengths)

    def tflite_supported(self) -> tuple[bool, str]:
        """Says whether the packer goes into a `.tflite` that takes text.

        Returns:
            (True, "") or (False, the reason).
        """
        if self.tokenizer.tflite_obstacle:
            return False, (
                f"{self.tokenizer.tflite_obstacle}, and TFLite has no operations for that without Flex. Send token ids "
                f"(a {type(self.tokenizer).__name__} makes them before)."
            )
        if self.truncation == "windows":
            return False, (
                "truncation='windows' makes another number of rows for every text, and a .tflite has one row of scores "
                "for each text. Export with 'head' or 'head_tail'."
            )
        return True, ""

    def save(self, path: str | os.PathLike) -> None:
        """Writes the tokenizer's files and `tokenizer_config.json`, which Hugging Face's tokenizers read as well.

        Args:
            path: Folder; made if it is not there.
        """
        self.tokenizer.save(path)
        file = pathlib.Path(path) / CONFIG_FILE
        config = read_json(file)
        ours = config.get(OURS, {}) | self.get_config()
        more = {"model_max_length": self.max_length, **self.frame.settings(self.tokenizer), OURS: ours}
        write_json(file, config | more)

    @classmethod
    def load(cls, path: str | os.PathLike, **overrides: Any) -> "TextPacker":
        """Reads a folder that `save` or Hugging Face wrote.

        Args:
            path: Folder that `load_tokenizer` reads.
            **overrides: Arguments of the constructor that replace those in the folder.

        Returns:
            A `TextPacker`; its frame is that of the folder's `tokenizer_config.json` or `tokenizer.json`, else that of
            the tokenizer's class.

        Raises:
            FileNotFoundError: If the folder has no tokenizer.
            ValueError: If the folder holds a kind of tokenizer that is not there, or a broken file.
        """
        unknown = set(overrides) - set(_OPTIONS)
        if unknown:
            raise ValueError(f"{', '.join(_OPTIONS)} can be replaced. Received: {sorted(unknown)}.")
        tokenizer = load_tokenizer(path)
        config = read_json(pathlib.Path(path) / CONFIG_FILE)
        ours = {name: value for name, value in config.get(OURS, {}).items() if name in _OPTIONS}
        if "frame" not in ours:
            backend = read_json(pathlib.Path(path) / TOKENIZER_FILE)
            ours["frame"] = Frame.of_folder(tokenizer, config, backend)
        limit = config.get("model_max_length")
        if "max_length" not in ours and isinstance(limit, int) and len(Frame.of(tokenizer)) < limit <= _LONGEST_LIMIT:
            ours["max_length"] = limit
        return cls(tokenizer, **ours | overrides)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor, but for the tokenizer, as JSON has them."""
        return {
            "max_length": self.max_length,
            "truncation": self.truncation,
            "head_fraction": self.head_fraction,
            "stride": self.stride,
            "frame": self.frame.to_dict(),
        }

    def _budget(self, length: int | None) -> int:
        """How many tokens of a text fit into a row."""
        if length is not None:
            self._check_length("length", length)
        return min(length or self.max_length, self.max_length) - len(self.frame)

    def _check_length(self, name: str, value: int) -> None:
        least = len(self.frame) + 1
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            parts = ", ".join([*self.frame.before, "one token", *self.frame.after])
            raise ValueError(f"{name} must be an integer of at least {least}: {parts}. Received: {value!r}.")

    def _flat(self, texts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the tokens of all texts, (tokens,) int32, and where those of each begin, (batch + 1,) int32."""
        if isinstance(self.tokenizer, WordPieceTokenizer):
            values, _, _, row_splits = self.tokenizer.flat_tokens(texts)
            return values, row_splits
        # As in a graph: one broken text shall not fail the others.
        ids = self.tokenizer.tokenize(tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace"))
        return ids.values, tf.cast(ids.row_splits, tf.int32)

    def _rows(self, texts: tf.Tensor, length: int | None) -> tuple[tf.Tensor, ...]:
        """Returns all tokens, and where each row's begin, how many there are, and the row's text."""
        budget = self._budget(length)
        texts = texts[None] if texts.shape.rank == 0 else texts
        values, row_splits = self._flat(texts)
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
        width = length - len(self.frame) if length is not None else tf.reduce_max(tf.concat([kept, [0]], 0))
        columns = tf.range(width)
        places = starts[:, None] + columns
        if self.truncation == "head_tail":
            head = round(self.head_fraction * budget)
            places += (counts - kept)[:, None] * tf.cast(columns >= head, tf.int32)
        # One more value, so that there is something to gather from when no text has a token.
        values = tf.concat([values, [self.pad_id]], 0)
        body = tf.gather(values, tf.minimum(places, tf.shape(values)[0] - 1))
        inside = tf.cast(columns < kept[:, None], tf.int32)
        body = body * inside + self.pad_id * (1 - inside)
        edge = tf.ones_like(kept)[:, None]
        before, after = self._frame.ids
        token_ids = tf.concat([*(i * edge for i in before), body, *(self.pad_id * edge for _ in after)], 1)
        for place, token_id in enumerate(after, start=len(before)):
            ends_here = tf.cast(tf.equal(tf.range(width + len(self.frame)), kept[:, None] + place), tf.int32)
            token_ids += (token_id - self.pad_id) * ends_here
        return _with_mask(token_ids, kept + len(self.frame))


class _Frame:
    """A frame and its ids; plain data that `tf.Module` must not wrap in its own containers."""

    def __init__(self, frame: Frame, tokenizer: Tokenizer):
        self.frame = frame
        self.ids = tuple([tokenizer.id_of(token) for token in side] for side in (frame.before, frame.after))
        special = tokenizer.special_tokens
        known = [special[key] for key in ("pad_token", "eos_token", "unk_token") if key in special]
        self.pad_id = tokenizer.id_of(known[0]) if known else 0


def _with_mask(token_ids: tf.Tensor, lengths: tf.Tensor) -> dict[str, tf.Tensor]:
    padding_mask = tf.cast(tf.range(tf.shape(token_ids)[1]) < lengths[:, None], tf.int32)
    return {
        "token_ids": token_ids,
        "segment_ids": tf.zeros_like(token_ids),
        "padding_mask": padding_mask,
    }


_OPTIONS = ("max_length", "truncation", "head_fraction", "stride", "frame")
