"""GPT-2's tokenizer in the graph: byte-level BPE with token ids equal to Hugging Face's."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_text

from keras_transformer.text import byte_level_files
from keras_transformer.text.byte_level import WordStarts, bytes_to_letters, token_bytes
from keras_transformer.text.pair_merges import PairMerges
from keras_transformer.text.strings import utf8_lengths
from keras_transformer.text.subword import SubwordTokenizer


class ByteLevelBPETokenizer(SubwordTokenizer):
    """Turns texts into byte-level BPE token ids, the same as Hugging Face's tokenizers of GPT-2, RoBERTa and BART.

    It works on tensors, so it goes into `tf.data` and into a SavedModel. Every valid text is decoded to itself, byte
    for byte, but for white space that a token with `lstrip` or `rstrip` takes and the blank of `add_prefix_space`.

    Args:
        vocabulary: dict of tokens to their ids, or the path of a `vocab.json`.
        merges: The merges by rank, "a b" each, or the path of a `merges.txt`.
        add_prefix_space: bool. Begin every text with a blank, and every part of it after an added token. Defaults to
            False.
        special_tokens: dict of "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token",
            "mask_token" to a token. Defaults to None.
        added_tokens: Further tokens that are found in the text as they are written, and the flags of special ones:
            str, or dict of "content" and, optionally, "lstrip", "rstrip", "special". Those that the vocabulary does
            not have get the ids after it. Defaults to ().
        split_special_tokens: bool. Treat special tokens that are written in a text as plain text. Defaults to False.

    Raises:
        ValueError: If the vocabulary lacks a byte, or has not all that the merges need.
        FileNotFoundError: If there is no file at a given path.

    Example:
    ```python
    import tokenizers
    from keras_transformer.text import ByteLevelBPETokenizer

    trainer = tokenizers.ByteLevelBPETokenizer()
    trainer.train_from_iterator(["a good film", "good films"], vocab_size=270, show_progress=False)
    trainer.save_model(".")  # vocab.json and merges.txt

    tokenizer = ByteLevelBPETokenizer("vocab.json", "merges.txt")
    ids = tokenizer.tokenize(["good films 😀"])
    assert tokenizer.detokenize(ids)[0].numpy().decode() == "good films 😀"
    ```

    Reference: [Language Models are Unsupervised Multitask Learners](
    https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf), section 2.2.
    """

    tflite_obstacle = "byte-level BPE decodes and encodes Unicode, finds unique words and loops"

    def __init__(
        self,
        vocabulary: Mapping[str, int] | str | os.PathLike,
        merges: Sequence[str] | str | os.PathLike,
        add_prefix_space: bool = False,
        *,
        special_tokens: Mapping[str, str] | None = None,
        added_tokens: Sequence[str | Mapping[str, Any]] = (),
        split_special_tokens: bool = False,
    ):
        if isinstance(vocabulary, str | os.PathLike):
            vocabulary = byte_level_files.read_vocabulary(vocabulary)
        if isinstance(merges, str | os.PathLike):
            merges = byte_level_files.read_merges(merges)
        tokens = byte_level_files.check_vocabulary(vocabulary)
        ids = {token: i for i, token in enumerate(tokens)}
        pairs, merged = byte_level_files.check_merges(merges, ids)
        texts = [token_bytes(token) for token in tokens]
        super().__init__(
            ids, texts, special_tokens, added_tokens, split_special_tokens, name="byte_level_bpe_tokenizer"
        )
        self._facts.vocabulary = ids
        self._facts.merges = tuple(merges)
        self.add_prefix_space = bool(add_prefix_space)
        self._word_starts = WordStarts()
        self._merges = PairMerges(pairs, merged)
        self._byte_splitter = tensorflow_text.ByteSplitter()
        with tf.init_scope():
            self._byte_ids = tf.constant([ids[letter] for letter in bytes_to_letters()], tf.int32)
            self._added_ids = tf.constant([token.id for token in self._facts.added], tf.int32)
            self._place_of_added = tf.constant(_places([token.id for token in self._facts.added]), tf.int32)

    @property
    def vocabulary(self) -> dict[str, int]:
        """The tokens and their ids, without those that were added after them."""
        return dict(self._facts.vocabulary)

    @property
    def merges(self) -> tuple[str, ...]:
        """The merges by rank."""
        return self._facts.merges

    @property
    def hugging_face_class(self) -> str:
        """Class of Hugging Face that reads what `save` writes."""
        # That for RoBERTa adds special tokens of its own, that for GPT-2 those that are named.
        is_roberta = {"cls_token", "sep_token", "mask_token"} <= set(self.special_tokens)
        return "RobertaTokenizer" if is_roberta else "GPT2Tokenizer"

    def save(self, path: str | os.PathLike) -> None:
        """Writes `vocab.json`, `merges.txt` and `tokenizer_config.json`, which Hugging Face's tokenizers read as well.

        Args:
            path: Folder; made if it is not there.
        """
        byte_level_files.save(path, self)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "ByteLevelBPETokenizer":
        """Reads a folder that `save` or Hugging Face wrote.

        Args:
            path: Folder with `vocab.json` and `merges.txt`, or with a byte-level BPE `tokenizer.json`.

        Returns:
            A `ByteLevelBPETokenizer`.

        Raises:
            FileNotFoundError: If the folder or a file is not there.
            ValueError: If the folder holds another kind of tokenizer, or a broken file.
        """
        return cls(**byte_level_files.load(path))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {
            "vocabulary": self.vocabulary,
            "merges": list(self.merges),
            "add_prefix_space": self.add_prefix_space,
            **super().get_config(),
        }

    def _added_text(self, content: str) -> bytes:
        return token_bytes(content)  # as Hugging Face's decoder, which does not know added tokens

    def _pieces(
        self, texts: tf.Tensor, pieces: tf.RaggedTensor, begins: tf.Tensor, added: tf.Tensor, offsets: bool
    ) -> tuple[tf.RaggedTensor, ...]:
        plain = added < 0
        invented = tf.zeros_like(plain)
        flat = pieces.values
        if self.add_prefix_space:
            invented = plain & ~tf.strings.regex_full_match(flat, "(?s) .*") & tf.not_equal(flat, "")
            flat = tf.where(invented, tf.strings.join([" ", flat]), flat)
        decoded = tf.strings.unicode_decode(flat, "UTF-8")
        characters, piece_of = decoded.values, tf.cast(decoded.value_rowids(), tf.int32)
        first = tf.not_equal(piece_of, tf.concat([[-1], piece_of], 0)[:-1])
        starts = first | (self._word_starts(characters, first) & tf.gather(plain, piece_of))

        # Each different word is merged once; an added token is a word with a row of its own after theirs.
        begin = tf.concat([tf.where(starts)[:, 0], [tf.size(characters, tf.int64)]], 0)
        words = tf.RaggedTensor.from_row_splits(characters, begin, validate=False)
        words_added = tf.gather(added, tf.gather(piece_of, begin[:-1]))
        unique, word_row = tf.unique(tf.strings.unicode_encode(words, "UTF-8"))
        rows_of_bytes = self._byte_splitter.split(unique)
        tokens, lengths, token_rows = self._merges(
            tf.gather(self._byte_ids, tf.cast(rows_of_bytes.values, tf.int32)),
            tf.cast(rows_of_bytes.value_rowids(), tf.int32),
        )
        table = tf.RaggedTensor.from_value_rowids(
            tf.stack([tokens, lengths], axis=1), token_rows, nrows=tf.size(unique, tf.int32), validate=False
        )
        special = tf.stack([self._added_ids, tf.zeros_like(self._added_ids)], axis=1)
        table = tf.concat(
            [table, tf.RaggedTensor.from_tensor(special[:, None], row_splits_dtype=table.row_splits.dtype)], 0
        )
        if self._facts.added:
            place = tf.gather(self._place_of_added, tf.maximum(words_added, 0)) + tf.size(unique)
            word_row = tf.where(words_added < 0, word_row, place)
        rows = tf.gather(table, word_row)

        ids, lengths = rows.values[:, 0], rows.values[:, 1]
        word_of = tf.cast(rows.value_rowids(), tf.int32)
        starts, ends = self._offsets(characters, begin, word_of, lengths)
        # Characters of the text before each flat character.
        real = 1 - tf.cast(first & tf.gather(invented, piece_of), tf.int32)
        before = tf.concat([[0], tf.cumsum(real)], 0)
        text_splits = tf.cast(tf.gather(decoded.row_splits, pieces.row_splits), tf.int32)
        token_splits = tf.gather(
            tf.cast(rows.row_splits, tf.int64), tf.searchsorted(begin, tf.cast(text_splits, tf.int64))
        )
        base = tf.repeat(tf.gather(before, text_splits[:-1]), token_splits[1:] - token_splits[:-1])
        return tuple(
            tf.RaggedTensor.from_row_splits(values, token_splits, validate=False)
            for values in (ids, tf.gather(before, starts) - base, tf.gather(before, ends) - base)
        )

    def _offsets(
        self, characters: tf.Tensor, begin: tf.Tensor, word_of: tf.Tensor, lengths: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The first and last flat character of each token; an added token (length 0) has its whole word."""
        begin = tf.cast(begin, tf.int32)
        sizes = utf8_lengths(characters)
        byte_begin = tf.concat([[0], tf.cumsum(sizes)], 0)
        first_byte, last_byte = (tf.gather(tf.gather(byte_begin, begin), word_of + n) for n in (0, 1))
        lengths = tf.where(tf.equal(lengths, 0), last_byte - first_byte, lengths)
        # Tokens fill the bytes without gaps.
        byte_end = tf.cumsum(lengths)
        character_of = tf.repeat(tf.range(tf.size(characters)), sizes)
        return tf.gather(character_of, byte_end - lengths), tf.gather(character_of, byte_end - 1) + 1


def _places(ids: Sequence[int]) -> np.ndarray:
    """Returns the index of each id in the list: (largest id + 1,) int."""
    places = np.zeros(max(ids, default=0) + 1, int)
    places[list(ids)] = np.arange(len(ids))
    return places
