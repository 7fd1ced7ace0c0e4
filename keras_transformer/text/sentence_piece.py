"""SentencePiece in the graph, as ALBERT, T5 and Llama use it: unigram and BPE models, byte fallback, added tokens."""

import functools
import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_text
from tensorflow_text.python.ops import sentencepiece_tokenizer

from keras_transformer.text import sentence_piece_files
from keras_transformer.text.albert_rules import AlbertCleaner, AlbertRules
from keras_transformer.text.strings import character_offsets
from keras_transformer.text.subword import SubwordTokenizer

PREFIXES = ("always", "first", "never")
_BLANK = "▁"


class SentencePieceTokenizer(SubwordTokenizer):
    """Turns texts into the token ids of a SentencePiece model, the same as the library `sentencepiece`.

    It works on tensors, so it goes into `tf.data` and into a SavedModel (operations of `tensorflow_text`). Added tokens
    that are written in a text, such as T5's `<extra_id_0>`, are found as Hugging Face does.

    Args:
        model: The model (bytes), or the path of a `spiece.model` or `tokenizer.model`.
        prefix: str. Which plain texts get a blank in front, if the model says that texts do: "always" (every part of a
            text between added tokens; T5, and Llama's `legacy=True`), "first" (only what begins a text, and not with a
            blank of its own; Llama's `legacy=False`), or "never". Defaults to "always", as the library.
        special_tokens: dict of "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token",
            "mask_token" to a token; those that are absent are the model's, and with `rules` ALBERT's. Defaults to None.
        added_tokens: Further tokens that are found in the text as they are written: str, or dict of "content" and,
            optionally, "lstrip", "rstrip", "special". Those that the model does not have get the ids after its own,
            in this order. Defaults to ().
        split_special_tokens: bool. Treat special tokens that are written in a text as plain text. Defaults to False.
        rules: AlbertRules or None. How ALBERT cleans a text before it is tokenized; None leaves it to the model.
            Defaults to None.

    Raises:
        ValueError: If the model is not one of SentencePiece, or an argument is unknown.
        FileNotFoundError: If there is no file at the given path.

    Example:
    ```python
    import sentencepiece
    from keras_transformer.text import SentencePieceTokenizer

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a good film", "good films", "a bad film"]),
        model_prefix="spiece", vocab_size=20, model_type="bpe", minloglevel=2,
    )
    tokenizer = SentencePieceTokenizer("spiece.model", added_tokens=["<extra_id_0>"])
    ids = tokenizer.tokenize(["a <extra_id_0> film"])
    print(tokenizer.detokenize(ids)[0].numpy().decode())  # a<extra_id_0> film
    ```

    Reference: [SentencePiece](https://arxiv.org/abs/1808.06226), [T5](https://arxiv.org/abs/1910.10683).
    """

    tflite_obstacle = "added tokens in the text are found with regular expressions"

    def __init__(
        self,
        model: bytes | str | os.PathLike,
        prefix: str = "always",
        *,
        special_tokens: Mapping[str, str] | None = None,
        added_tokens: Sequence[str | Mapping[str, Any]] = (),
        split_special_tokens: bool = False,
        rules: AlbertRules | None = None,
    ):
        if rules is not None and not isinstance(rules, AlbertRules):
            raise ValueError(f"rules must be AlbertRules(...) or None. Received: {rules!r}.")
        if prefix not in PREFIXES:
            raise ValueError(f"prefix must be one of {PREFIXES}. Received: {prefix!r}.")
        model = sentence_piece_files.read_model(model)
        facts = sentence_piece_files.facts_of(model)
        of_class = {} if rules is None else sentence_piece_files.albert_tokens(facts.pieces)
        special_tokens = facts.special_tokens | of_class | dict(special_tokens or {})
        known = {token if isinstance(token, str) else token.get("content") for token in added_tokens}
        added_tokens = [*[token for token in facts.added_tokens if token["content"] not in known], *added_tokens]
        super().__init__(
            {piece: i for i, piece in enumerate(facts.pieces)},
            facts.texts,
            special_tokens,
            added_tokens,
            split_special_tokens,
            name="sentence_piece_tokenizer",
        )
        self.prefix = prefix
        self.rules = rules
        self._facts.model = model
        self._facts.is_unigram = facts.is_unigram
        self._cleaner = None
        if rules is not None:
            self._cleaner = AlbertCleaner(rules)
            model = sentence_piece_files.divides_number_commas(model)
        self._adds_blank = facts.adds_blank and prefix != "never"
        with tf.init_scope():
            self._blank_id = tf.constant(facts.pieces.index(_BLANK) if _BLANK in facts.pieces else -1, tf.int32)
            blank = model if self._adds_blank else sentence_piece_files.without_blank(model)
            self._processor = _Processor(blank, facts.is_plain_unigram)
            self._without_blank = None
            if self._adds_blank and prefix == "first":
                self._without_blank = _Processor(sentence_piece_files.without_blank(model), facts.is_plain_unigram)

    @property
    def model(self) -> bytes:
        """The SentencePiece model."""
        return self._facts.model

    @property
    def hugging_face_class(self) -> str:
        """Class of Hugging Face that reads what `save` writes."""
        if self.rules is not None:
            return "AlbertTokenizer"
        return "T5Tokenizer" if self._facts.is_unigram else "LlamaTokenizer"

    def save(self, path: str | os.PathLike) -> None:
        """Writes `spiece.model` or `tokenizer.model`, and `tokenizer_config.json`, which Hugging Face reads as well.

        Args:
            path: Folder; made if it is not there.
        """
        sentence_piece_files.save(path, self)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "SentencePieceTokenizer":
        """Reads a folder that `save` or Hugging Face wrote.

        Args:
            path: Folder with `spiece.model` or `tokenizer.model`.

        Returns:
            A `SentencePieceTokenizer`.

        Raises:
            FileNotFoundError: If the folder or the model is not there.
            ValueError: If the folder holds another kind of tokenizer, or a broken file.
        """
        return cls(**sentence_piece_files.load(path))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {"model": self.model, "prefix": self.prefix, "rules": self.rules, **super().get_config()}

    def _after_join(self, texts: tf.Tensor) -> tf.Tensor:
        return tf.strings.regex_replace(texts, "^ ", "") if self._adds_blank else texts

    def _pieces(
        self, texts: tf.Tensor, pieces: tf.RaggedTensor, begins: tf.Tensor, added: tf.Tensor, offsets: bool
    ) -> tuple[tf.RaggedTensor, ...]:
        flat = pieces.values
        is_added = added >= 0
        plain = tf.where(is_added, "", flat)
        origins = None
        if self._cleaner is not None:
            plain, origins = self._cleaner.clean(plain)
        # Each piece is a row of one of these; the others have nothing there.
        parts = []
        if self._without_blank is None:
            parts.append(self._processor.tokenize(plain, offsets))
        else:
            first = tf.equal(begins, 0) & ~tf.strings.regex_full_match(plain, f"(?s)[ {_BLANK}].*")
            parts.append(self._processor.tokenize(tf.where(first, plain, ""), offsets))
            parts.append(self._without_blank.tokenize(tf.where(first, "", plain), offsets))
        places = tf.where(is_added)[:, 0]
        values = (tf.gather(added, places), tf.zeros_like(places), tf.gather(tf.strings.length(flat), places))
        lengths = tf.cast(is_added, tf.int64)
        parts.append([tf.RaggedTensor.from_row_lengths(v, lengths, validate=False) for v in values])
        columns = ([tf.cast(part, tf.int32) for part in column] for column in zip(*parts, strict=True))
        ids, starts, ends = (tf.concat(column, axis=1) for column in columns)

        piece_of = ids.value_rowids()
        if origins is not None and offsets:
            starts, ends = self._before_cleaning(origins, starts, ends, is_added)
        shift = tf.gather(begins, piece_of)
        rows = tf.gather(ids.row_splits, tf.cast(pieces.row_splits, ids.row_splits.dtype))
        ids, starts, ends = (
            tf.RaggedTensor.from_row_splits(values, rows, validate=False)
            for values in (ids.values, starts.values + shift, ends.values + shift)
        )
        if not offsets:
            return ids, starts, ends
        starts, ends = character_offsets(texts, starts, ends)
        return ids, starts, self._whole_characters(ids, starts, ends, piece_of)

    @staticmethod
    def _before_cleaning(
        origins: tf.RaggedTensor, starts: tf.RaggedTensor, ends: tf.RaggedTensor, is_added: tf.Tensor
    ) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
        """Turns places in cleaned texts into places in the texts; an added token was not cleaned."""
        piece_of = starts.value_rowids()
        added = tf.gather(is_added, piece_of)
        flat = tf.cast(origins.values, tf.int32)
        first = tf.gather(tf.cast(origins.row_splits, tf.int32), piece_of)
        # Several bytes that one character became are one range: it ends where the next character begins.
        row_of = origins.value_rowids()
        opens = tf.not_equal(row_of, tf.concat([[-1], row_of], 0)[:-1])
        begins = tf.where(opens | tf.not_equal(flat, tf.concat([[-1], flat], 0)[:-1]))[:, 0]
        last = first + tf.where(added, 0, ends.values)
        next_begin = tf.gather(begins, tf.searchsorted(begins, tf.cast(last, tf.int64)))
        before = (tf.gather(flat, first + tf.where(added, 0, starts.values)), tf.gather(flat, next_begin))
        return tuple(
            places.with_values(tf.where(added, places.values, found))
            for places, found in zip((starts, ends), before, strict=True)
        )

    def _whole_characters(
        self, ids: tf.RaggedTensor, starts: tf.RaggedTensor, ends: tf.RaggedTensor, piece_of: tf.Tensor
    ) -> tf.RaggedTensor:
        """Gives each of several tokens of one character its end: the library gives it to the last one alone."""
        # A token without a range is a part of the next character, but for the blank in front of a text.
        opens = tf.not_equal(piece_of, tf.concat([[-1], piece_of], 0)[:-1])
        invented = opens & tf.equal(ids.values, self._blank_id)
        part = tf.equal(starts.values, ends.values) & ~invented
        return ends.with_values(ends.values + tf.cast(part, tf.int32))


class _Processor(tf.Module):
    """The library's operations for one model.

    For unigram models only the faster operation sums the scores as the library does today; the other one takes another
    of two equally good ways ("!!!" and "!!" for five exclamation marks) in one review of fifty. It has no offsets, so
    these come from the library itself.

    Args:
        model: The model.
        is_plain_unigram: bool. The faster operation is used.
    """

    def __init__(self, model: bytes, is_plain_unigram: bool):
        super().__init__()
        self._fast = self._operation = None
        if is_plain_unigram:
            self._fast = tensorflow_text.FastSentencepieceTokenizer(model)
            self._library = functools.partial(_library, model)
        else:
            name = f"sentence_piece_{hashlib.sha256(model).hexdigest()[:16]}"
            self._operation = tensorflow_text.SentencepieceTokenizer(model, name=name)
            self._operation._model_resource = _SharedModel(model, name)

    def tokenize(self, texts: tf.Tensor, offsets: bool) -> tuple[tf.RaggedTensor, ...]:
        """Returns the ids of each text, and where each begins and ends in bytes (zeros unless they are wanted)."""
        if self._operation is not None:
            return self._operation.tokenize_with_offsets(texts)
        if not offsets:
            ids = self._fast.tokenize(texts).with_row_splits_dtype(tf.int64)
            return ids, tf.zeros_like(ids), tf.zeros_like(ids)
        if not tf.executing_eagerly():
            raise ValueError(
                "The offsets of a unigram model are computed in Python: call tokenize_with_offsets outside of a graph, "
                "or tokenize inside. Received: a call in a graph."
            )
        rows = [list(text.pieces) for text in self._library().encode(list(texts.numpy()), return_type="proto")]
        lengths = [len(row) for row in rows]
        return tuple(
            tf.RaggedTensor.from_row_lengths(
                tf.constant([getattr(piece, name) for row in rows for piece in row], tf.int32),
                tf.constant(lengths, tf.int64),
            )
            for name in ("id", "begin", "end")
        )


class _SharedModel(sentencepiece_tokenizer._SentencepieceModelResource):
    """A model that has a name, so that equal ones are one, and that no kernel owns.

    The library's own goes with a kernel in TensorFlow's cache, which `keras.utils.set_random_seed` empties.
    """

    def _create_resource(self):
        create = sentencepiece_tokenizer.gen_sentencepiece_tokenizer.sentencepiece_op
        return create(model=self._model, shared_name=self._name)


@functools.lru_cache(maxsize=8)
def _library(model: bytes) -> Any:
    import sentencepiece

    return sentencepiece.SentencePieceProcessor(model_proto=model)
