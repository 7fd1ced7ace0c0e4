"""BERT's tokenizer in the graph: token ids equal to Hugging Face's, from `tensorflow_text`'s FastBertTokenizer."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_text
from tensorflow_text.core.pybinds import pywrap_fast_wordpiece_tokenizer_model_builder as wordpiece_builder

from keras_transformer.text import folder, normalizer_model
from keras_transformer.text.alphabet import SUFFIX_INDICATOR, Alphabet, split_suffix
from keras_transformer.text.special_tokens import SpecialTokens
from keras_transformer.text.strings import as_strings, character_offsets
from keras_transformer.text.vocabulary import SPECIAL_TOKENS, check_vocabulary, load_vocabulary

# The names of the special tokens in Hugging Face's configuration.
SPECIAL_TOKEN_KEYS = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")


class WordPieceTokenizer(tf.Module):
    """Turns texts into WordPiece token ids, the same as Hugging Face's fast BERT tokenizer.

    It works on tensors, so it goes into `tf.data`, into a SavedModel and (without Flex operations) into TFLite. The
    vocabulary is a constant of the graph.

    Args:
        vocabulary: The tokens (list of str) in the order of their ids, or the path of a `vocab.txt`.
        lowercase: bool. Lower-case the text. Defaults to True.
        strip_accents: bool or None. Strip accents; None means the same as `lowercase`. Defaults to None.
        tokenize_chinese_chars: bool. Make every Chinese character a word. Defaults to True.
        special_tokens: dict of "pad_token", "unk_token", "cls_token", "sep_token", "mask_token" to a token; those that
            are absent are BERT's. Defaults to None.
        split_special_tokens: bool. Treat special tokens that are written in a text as plain text; False makes each one
            token, as Hugging Face does. Defaults to False.
        max_characters_per_word: int. Longer words become the unknown token. Defaults to 100.

    Raises:
        ValueError: If the vocabulary has duplicates, blank tokens or lacks a special token.
        FileNotFoundError: If there is no file at the given path.

    Example:
    ```python
    from keras_transformer.text import WordPieceTokenizer

    tokenizer = WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "film", "##s", "!"])
    print(tokenizer.tokenize(["A film!", "Films"]).to_list())  # [[5, 6, 8], [6, 7]]
    ```

    Reference: [BERT](https://arxiv.org/abs/1810.04805), [Fast WordPiece](https://arxiv.org/abs/2012.15524).
    """

    hugging_face_class = "BertTokenizer"
    """Class of Hugging Face that reads what `save` writes."""
    tflite_obstacle = ""
    """What keeps the tokenizer out of a `.tflite`; nothing does."""

    def __init__(
        self,
        vocabulary: Sequence[str] | str | os.PathLike,
        lowercase: bool = True,
        strip_accents: bool | None = None,
        tokenize_chinese_chars: bool = True,
        *,
        special_tokens: Mapping[str, str] | None = None,
        split_special_tokens: bool = False,
        max_characters_per_word: int = 100,
    ):
        super().__init__(name="word_piece_tokenizer")
        special_tokens = dict(zip(SPECIAL_TOKEN_KEYS, SPECIAL_TOKENS, strict=True)) | dict(special_tokens or {})
        if set(special_tokens) != set(SPECIAL_TOKEN_KEYS):
            raise ValueError(f"special_tokens may name {SPECIAL_TOKEN_KEYS}. Received: {sorted(special_tokens)}.")
        if max_characters_per_word < 1:
            raise ValueError(f"max_characters_per_word must be at least 1. Received: {max_characters_per_word}.")
        if isinstance(vocabulary, str | os.PathLike):
            vocabulary = load_vocabulary(vocabulary, special_tokens.values())
        else:
            vocabulary = check_vocabulary(vocabulary, special_tokens.values())
        self._facts = _Facts(
            vocabulary=tuple(vocabulary),
            special_tokens=special_tokens,
            ids={token: i for i, token in enumerate(vocabulary)},
        )
        self.lowercase = bool(lowercase)
        self.strip_accents = None if strip_accents is None else bool(strip_accents)
        self.tokenize_chinese_chars = bool(tokenize_chinese_chars)
        self.split_special_tokens = bool(split_special_tokens)
        self.max_characters_per_word = int(max_characters_per_word)
        self._tokenizer = self._build()
        self._special_tokens = None
        if not self.split_special_tokens:
            tokens = list(dict.fromkeys(special_tokens.values()))
            with tf.init_scope():
                ids, _, _, row_splits, _ = self._pieces(tf.constant(tokens))
            pieces = np.split(ids.numpy(), row_splits.numpy()[1:-1])
            self._special_tokens = SpecialTokens(tokens, [self.token_to_id(token) for token in tokens], pieces)

    def _build(self) -> tensorflow_text.FastBertTokenizer:
        strip_accents = self.lowercase if self.strip_accents is None else self.strip_accents
        alphabet = Alphabet.of(self.vocabulary, self.lowercase, strip_accents, self.tokenize_chinese_chars)
        normalizer = normalizer_model.build(alphabet.replacements(), default=alphabet.unknown_letter)
        coded = []
        for index, token in enumerate(self.vocabulary):
            characters, _ = split_suffix(token)
            code = alphabet.encode_token(token) if len(characters) <= self.max_characters_per_word else None
            # The op skips tokens of several characters with punctuation: nothing is stored for one of these.
            coded.append(f"[{index}]" if code is None else code)
        if all(code.startswith("[") for code in coded):
            raise ValueError(
                f"The vocabulary has no token that a text could contain. Received: {len(self.vocabulary)} tokens, all "
                "special, or other than the settings for lower case and accents allow."
            )
        wordpiece = wordpiece_builder.build_fast_wordpiece_model(
            coded,
            max(self.max_characters_per_word * alphabet.width, alphabet.isolated_width),
            SUFFIX_INDICATOR,
            coded[self.unk_id],
            False,  # no_pretokenization: the op splits words itself
            False,  # support_detokenization: it would write private codes
        )
        with tf.init_scope():
            return tensorflow_text.FastBertTokenizer(
                token_out_type=tf.int32,
                fast_wordpiece_model_buffer=tf.constant(np.frombuffer(wordpiece, np.uint8)),
                fast_bert_normalizer_model_buffer=tf.constant(np.frombuffer(normalizer, np.uint8)),
            )

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The tokens in the order of their ids."""
        return self._facts.vocabulary

    @property
    def vocabulary_size(self) -> int:
        """Number of tokens."""
        return len(self._facts.vocabulary)

    @property
    def special_tokens(self) -> dict[str, str]:
        """The special tokens by Hugging Face's names."""
        return dict(self._facts.special_tokens)

    @property
    def pad_id(self) -> int:
        """Id of the token that fills rows."""
        return self.token_to_id(self._facts.special_tokens["pad_token"])

    @property
    def unk_id(self) -> int:
        """Id of the token for unknown words."""
        return self.token_to_id(self._facts.special_tokens["unk_token"])

    @property
    def cls_id(self) -> int:
        """Id of the token that begins a row."""
        return self.token_to_id(self._facts.special_tokens["cls_token"])

    @property
    def sep_id(self) -> int:
        """Id of the token that ends a row."""
        return self.token_to_id(self._facts.special_tokens["sep_token"])

    @property
    def mask_id(self) -> int:
        """Id of the token that hides a word."""
        return self.token_to_id(self._facts.special_tokens["mask_token"])

    def token_to_id(self, token: str) -> int:
        """Returns the id of a token of the vocabulary.

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

    id_of = token_to_id

    def save(self, path: str | os.PathLike) -> None:
        """Writes `vocab.txt` and `tokenizer_config.json`, which Hugging Face's tokenizers read as well.

        Args:
            path: Folder; made if it is not there.
        """
        folder.save(path, self)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "WordPieceTokenizer":
        """Reads a folder that `save`, `TextPacker.save` or Hugging Face wrote.

        Args:
            path: Folder with `tokenizer_config.json` and `vocab.txt`, or with a WordPiece `tokenizer.json`.

        Returns:
            A `WordPieceTokenizer`.

        Raises:
            FileNotFoundError: If the folder has no vocabulary.
            ValueError: If the folder holds another kind of tokenizer, or a broken file.
        """
        return cls(**folder.load(path))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {
            "vocabulary": list(self.vocabulary),
            "lowercase": self.lowercase,
            "strip_accents": self.strip_accents,
            "tokenize_chinese_chars": self.tokenize_chinese_chars,
            "special_tokens": self.special_tokens,
            "split_special_tokens": self.split_special_tokens,
            "max_characters_per_word": self.max_characters_per_word,
        }

    def tokenize(self, texts: tf.Tensor | Sequence[str]) -> tf.RaggedTensor:
        """Turns texts into token ids, without [CLS] and [SEP].

        Args:
            texts: (batch,) or () string tensor, a list of str or bytes, or one str. Bytes that are not UTF-8 are
                ignored.

        Returns:
            (batch, None) int32 ragged tensor; (None,) int32 tensor for one text.
        """
        return self.tokenize_with_offsets(texts)[0]

    def tokenize_with_offsets(
        self, texts: tf.Tensor | Sequence[str], unit: str = "bytes"
    ) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        """Turns texts into token ids and where each token is in its text.

        Args:
            texts: As for `tokenize`.
            unit: str. What is counted, "bytes" of the UTF-8 text or "characters" (code points, as Python does; the
                texts must be valid UTF-8). Defaults to "bytes".

        Returns:
            (ids, starts, ends), each (batch, None) int32 ragged (or (None,) for one text). `text[start:end]` is what
            the token was made of.

        Raises:
            ValueError: If `unit` is unknown.
        """
        if unit not in ("characters", "bytes"):
            raise ValueError(f"unit must be 'characters' or 'bytes'. Received: {unit!r}.")
        texts = as_strings(texts)
        if unit == "characters":
            rows = texts[None] if texts.shape.rank == 0 else texts
            ids, starts, ends = self.tokenize_with_offsets(rows)
            starts, ends = character_offsets(rows, starts, ends)
            return (ids[0], starts[0], ends[0]) if texts.shape.rank == 0 else (ids, starts, ends)
        if texts.shape.rank == 0:
            ids, starts, ends, _ = self.flat_tokens(texts[None])
            return ids, starts, ends
        *values, row_splits = self.flat_tokens(texts)
        row_splits = tf.cast(row_splits, tf.int64)
        ids, starts, ends = (tf.RaggedTensor.from_row_splits(v, row_splits, validate=False) for v in values)
        return ids, starts, ends

    def flat_tokens(self, texts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """Turns texts into token ids without ragged tensors: the form that also goes into TFLite.

        Args:
            texts: (batch,) string tensor.

        Returns:
            ids, starts, ends, each (tokens,) int32, and row_splits, (batch + 1,) int32: the tokens of text i are those
            from row_splits[i] to row_splits[i + 1].
        """
        ids, starts, ends, row_splits, row_ids = self._pieces(texts)
        if self._special_tokens is not None:
            return self._special_tokens.replace(texts, ids, starts, ends, row_splits, row_ids)
        return ids, starts, ends, row_splits

    def _pieces(self, texts: tf.Tensor) -> tuple[tf.Tensor, ...]:
        normalizer, wordpiece = self._tokenizer._fast_bert_normalizer, self._tokenizer._fast_wordpiece_tokenizer
        normalized, offsets = normalizer.normalize_with_offsets(texts)
        pieces, starts, ends = wordpiece.tokenize_with_offsets(normalized)
        ids = pieces.values
        row_splits = tf.cast(pieces.row_splits, tf.int32)
        # The text of each token: count the texts that begin at or before it. (TFLite has no operation for it.)
        count = tf.shape(ids)[0]
        begins = tf.scatter_nd(row_splits[1:, None], tf.ones_like(row_splits[1:]), [count + 1])
        row_ids = tf.cumsum(begins)[:count]
        # From bytes of the normalized text to bytes of the text.
        row_offsets = tf.gather(tf.cast(offsets.row_splits, tf.int32), row_ids)
        positions = tf.cast(offsets.values, tf.int32)
        starts = tf.gather(positions, row_offsets + tf.cast(starts.values, tf.int32))
        ends = tf.gather(positions, row_offsets + tf.cast(ends.values, tf.int32))
        return ids, starts, ends, row_splits, row_ids

    def detokenize(self, ids: tf.Tensor | tf.RaggedTensor, skip_special_tokens: bool = False) -> tf.Tensor:
        """Joins tokens to text: suffixes to the word before them, words with spaces. Padding is dropped.

        Args:
            ids: (batch, length) int, ragged or not, or (length,) for one text.
            skip_special_tokens: bool. Drop [CLS], [SEP], [MASK] and [UNK] as well. Defaults to False.

        Returns:
            (batch,) string tensor; () for one text.
        """
        ids = ids if isinstance(ids, tf.RaggedTensor) else tf.convert_to_tensor(ids)
        if ids.shape.rank == 1:
            return self.detokenize(ids[None], skip_special_tokens)[0]
        if not isinstance(ids, tf.RaggedTensor):
            ids = tf.RaggedTensor.from_tensor(ids)
        skipped = (
            self._facts.special_tokens.values() if skip_special_tokens else [self._facts.special_tokens["pad_token"]]
        )
        pieces = []
        for token in self.vocabulary:
            characters, is_suffix = split_suffix(token)
            pieces.append("" if token in skipped else characters if is_suffix else " " + characters)
        joined = tf.strings.unsorted_segment_join(
            tf.gather(tf.constant(pieces), ids.values), ids.value_rowids(), ids.nrows()
        )
        return tf.strings.strip(joined)


class _Facts:
    """Plain data that `tf.Module` must not wrap in its own containers."""

    def __init__(self, **values):
        self.__dict__.update(values)
