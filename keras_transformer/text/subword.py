"""What byte-level BPE and SentencePiece share: added tokens, offsets in characters, special ids, decoding."""

import abc
import os
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from keras_transformer.text.added_tokens import AddedTokenSplitter, resolve
from keras_transformer.text.strings import as_strings, byte_offsets, check_utf8


class SubwordTokenizer(tf.Module, abc.ABC):
    """A tokenizer in the graph whose tokens join to the text again.

    Texts are cut at the added tokens that are written in them; a subclass tokenizes what is between.

    Args:
        ids: dict of the vocabulary's tokens to their ids, 0, 1, 2, ...
        texts: bytes. What each token of the vocabulary stands for, in the order of the ids.
        special_tokens: dict of "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token",
            "mask_token" to a token.
        added_tokens: Further tokens that are found in the text, and flags of special ones.
        split_special_tokens: bool. Treat special tokens that are written in a text as plain text.
    """

    hugging_face_class: str
    """Class of Hugging Face that reads what `save` writes."""
    tflite_obstacle: str
    """What keeps the tokenizer out of a `.tflite`."""

    def __init__(
        self,
        ids: Mapping[str, int],
        texts: Sequence[bytes],
        special_tokens: Mapping[str, str] | None,
        added_tokens: Sequence[str | Mapping[str, Any]],
        split_special_tokens: bool,
        name: str,
    ):
        super().__init__(name=name)
        special_tokens = dict(special_tokens or {})
        added = resolve(ids, special_tokens, added_tokens)
        self._facts = _Facts(
            special_tokens=special_tokens,
            added=tuple(added),
            ids={**ids, **{token.content: token.id for token in added}},
        )
        self.split_special_tokens = bool(split_special_tokens)
        self._splitter = AddedTokenSplitter([t for t in added if not (split_special_tokens and t.special)])
        texts = [*texts, *[b""] * (len(self._facts.ids) - len(texts))]
        for token in added:
            texts[token.id] = self._added_text(token.content)
        skipped = [False] * len(texts)
        for token in added:
            skipped[token.id] = token.special
        with tf.init_scope():
            self._texts = tf.constant(texts, tf.string)
            self._skipped = tf.constant(skipped, tf.bool)

    @property
    def vocabulary_size(self) -> int:
        """Number of tokens, added ones included."""
        return len(self._facts.ids)

    @property
    def special_tokens(self) -> dict[str, str]:
        """The special tokens by Hugging Face's names."""
        return dict(self._facts.special_tokens)

    @property
    def added_tokens(self) -> tuple[dict[str, Any], ...]:
        """The tokens that are found in the text as they are written: their texts, ids and flags."""
        return tuple({"id": token.id, **token.to_dict()} for token in self._facts.added)

    def id_of(self, token: str) -> int:
        """Returns the id of a token as the files write it ("Ġfilm", "▁film", "</s>").

        Args:
            token: str.

        Returns:
            int.

        Raises:
            ValueError: If the vocabulary does not have the token.
        """
        if token not in self._facts.ids:
            raise ValueError(f"The vocabulary does not have this token. Received: {token!r}.")
        return self._facts.ids[token]

    token_to_id = id_of

    @property
    def pad_id(self) -> int:
        """Id of the token that fills rows."""
        return self._special_id("pad_token")

    @property
    def unk_id(self) -> int:
        """Id of the token for what the vocabulary does not have."""
        return self._special_id("unk_token")

    @property
    def bos_id(self) -> int:
        """Id of the token that begins a text."""
        return self._special_id("bos_token")

    @property
    def eos_id(self) -> int:
        """Id of the token that ends a text."""
        return self._special_id("eos_token")

    @property
    def mask_id(self) -> int:
        """Id of the token that hides a word."""
        return self._special_id("mask_token")

    @property
    def cls_id(self) -> int:
        """Id of the token that begins a row."""
        return self._special_id("cls_token")

    @property
    def sep_id(self) -> int:
        """Id of the token that ends a row."""
        return self._special_id("sep_token")

    def tokenize(self, texts: tf.Tensor | Sequence[str]) -> tf.RaggedTensor:
        """Turns texts into token ids, without tokens before and after them.

        Args:
            texts: (batch,) or () string tensor, a list of str or bytes, or one str. In a graph, bytes that are not
                UTF-8 become U+FFFD: one broken text must not fail the others of its batch.

        Returns:
            (batch, None) int32 ragged tensor; (None,) int32 tensor for one text.

        Raises:
            ValueError: If a text is not valid UTF-8, outside of a graph.
        """
        return self._tokenize(texts, None)[0]

    def tokenize_with_offsets(
        self, texts: tf.Tensor | Sequence[str], unit: str = "characters"
    ) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        """Turns texts into token ids and where each token is in its text.

        Args:
            texts: As for `tokenize`.
            unit: str. What is counted, "characters" (code points, as Python does) or "bytes" of the UTF-8 text.
                Defaults to "characters".

        Returns:
            (ids, starts, ends), each (batch, None) int32 ragged (or (None,) for one text). `text[start:end]` is what
            the token came from, the blank before a word included. Each of several tokens that one character became
            has the whole character.

        Raises:
            ValueError: If a text is not valid UTF-8, outside of a graph, or `unit` is unknown; in a graph, if the model
                is a unigram model of SentencePiece.
        """
        if unit not in ("characters", "bytes"):
            raise ValueError(f"unit must be 'characters' or 'bytes'. Received: {unit!r}.")
        return self._tokenize(texts, unit)

    def detokenize(self, ids: tf.Tensor | tf.RaggedTensor, skip_special_tokens: bool = False) -> tf.Tensor:
        """Joins tokens to text.

        Args:
            ids: (batch, length) int, ragged or not, or (length,) for one text.
            skip_special_tokens: bool. Drop special tokens, padding among them. Defaults to False.

        Returns:
            (batch,) string tensor; () for one text. What is not valid UTF-8, such as a part of a character, becomes
            U+FFFD.

        Raises:
            ValueError: If an id is not one of the vocabulary, outside of a graph.
            tf.errors.InvalidArgumentError: The same in a graph.
        """
        ids = ids if isinstance(ids, tf.RaggedTensor) else tf.convert_to_tensor(ids)
        if not ids.dtype.is_integer and ids.shape.num_elements() != 0:
            raise ValueError(f"ids must be integers. Received: {ids.dtype.name}.")
        ids = tf.cast(ids, tf.int32)
        if ids.shape.rank == 1:
            return self.detokenize(ids[None], skip_special_tokens)[0]
        if not isinstance(ids, tf.RaggedTensor):
            ids = tf.RaggedTensor.from_tensor(ids)
        values, rows = ids.values, ids.value_rowids()
        wrong = (values < 0) | (values >= self.vocabulary_size)
        message = f"Every id must be from 0 to {self.vocabulary_size - 1}, the vocabulary of this tokenizer."
        if tf.executing_eagerly():
            if tf.reduce_any(wrong):
                raise ValueError(f"{message} Received: {int(values[wrong][0])}.")
        else:
            with tf.control_dependencies([tf.debugging.Assert(~tf.reduce_any(wrong), [message, "Received:", values])]):
                values = tf.identity(values)
        if skip_special_tokens:
            kept = tf.where(~tf.gather(self._skipped, values))[:, 0]
            values, rows = tf.gather(values, kept), tf.gather(rows, kept)
        joined = tf.strings.unsorted_segment_join(tf.gather(self._texts, values), rows, ids.nrows())
        return tf.strings.unicode_transcode(self._after_join(joined), "UTF-8", "UTF-8", errors="replace")

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {
            "special_tokens": self.special_tokens,
            "added_tokens": list(self.added_tokens),
            "split_special_tokens": self.split_special_tokens,
        }

    @abc.abstractmethod
    def save(self, path: str | os.PathLike) -> None:
        """Writes the files, as Hugging Face names them."""

    @abc.abstractmethod
    def _pieces(
        self, texts: tf.Tensor, pieces: tf.RaggedTensor, begins: tf.Tensor, added: tf.Tensor, offsets: bool
    ) -> tuple[tf.RaggedTensor, ...]:
        """Tokenizes what is between added tokens.

        Args:
            texts: (batch,) string, valid UTF-8.
            pieces: (batch, None) string ragged.
            begins: (pieces,) int32, where each flat piece begins in its text in bytes.
            added: (pieces,) int32, the id of the added token that a piece is, or -1.
            offsets: bool. Whether the places are wanted.

        Returns:
            ids, and where each begins and ends in the text in characters: (batch, None) int32 ragged.
        """

    def _added_text(self, content: str) -> bytes:
        """What an added token is in decoded text."""
        return content.encode()

    def _after_join(self, texts: tf.Tensor) -> tf.Tensor:
        """What becomes of the joined tokens of a text."""
        return texts

    def _special_id(self, key: str) -> int:
        if key not in self._facts.special_tokens:
            raise ValueError(
                f"This tokenizer has no {key}. Name one: special_tokens={{{key!r}: ...}}. Received: "
                f"{self._facts.special_tokens}."
            )
        return self._facts.ids[self._facts.special_tokens[key]]

    def _tokenize(self, texts: tf.Tensor | Sequence[str], unit: str | None) -> tuple[tf.RaggedTensor, ...]:
        texts = as_strings(texts)
        if texts.shape.rank == 0:
            return tuple(values[0] for values in self._tokenize(texts[None], unit))
        if tf.executing_eagerly():
            check_utf8(texts)
        else:
            texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace")
        pieces, begins, added = self._splitter.split(texts)
        ids, starts, ends = self._pieces(texts, pieces, begins.values, added, unit is not None)
        if unit == "bytes":
            starts, ends = byte_offsets(texts, starts, ends)
        return ids, starts, ends


class _Facts:
    """Plain data that `tf.Module` must not wrap in its own containers."""

    def __init__(self, **values):
        self.__dict__.update(values)
