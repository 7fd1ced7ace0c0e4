"""Token ids of documents, with the sentence of each token."""

import hashlib
import pathlib
import tempfile
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


class Tokenized(NamedTuple):
    """Documents as token ids.

    Attributes:
        tokens: int32 `(tokens,)`, those of all documents.
        sentences: int64, tokens of each sentence; some may have none.
        documents: int64, sentences of each document.
    """

    tokens: np.ndarray
    sentences: np.ndarray
    documents: np.ndarray

    @property
    def document_tokens(self) -> np.ndarray:
        """int64: tokens of each document."""
        return np.diff(np.concatenate([[0], np.cumsum(self.sentences)])[np.cumsum(self.documents)], prepend=0)


class DocumentTokenizer:
    """Tokenizes whole documents, and says where in the tokens their sentences begin.

    The ids are those of the document as a whole, as the model will meet them: a token belongs to the sentence in which
    its last character stands. Only with a unigram model of SentencePiece, whose operation tells no places, sentences
    are tokenized one by one, if the model puts a blank before each anyway.

    Args:
        tokenizer: A tokenizer of `keras_transformer.text`, or a `TextPacker`, whose tokenizer is taken.
    """

    def __init__(self, tokenizer: Any) -> None:
        # Only here: it loads TensorFlow.
        from keras_transformer.text import WordPieceTokenizer

        self.tokenizer = getattr(tokenizer, "tokenizer", tokenizer)
        if not callable(getattr(self.tokenizer, "tokenize_with_offsets", None)):
            raise ValueError(
                "`tokenizer` must be a tokenizer of keras_transformer.text, or a TextPacker. "
                f"Received: {type(tokenizer).__name__}."
            )
        self.vocabulary_size = int(self.tokenizer.vocabulary_size)
        unknown = self.tokenizer.special_tokens.get("unk_token")
        # GPT-2 names its end of text so, and has no unknown text.
        has_unknown = unknown is not None and unknown != self.tokenizer.special_tokens.get("eos_token")
        self.unknown_id = self.tokenizer.id_of(unknown) if has_unknown else None
        self._counts_bytes = isinstance(self.tokenizer, WordPieceTokenizer)
        self._by_sentence = _puts_blanks_before_sentences(self.tokenizer)

    def fingerprint(self) -> str:
        """Return 16 hexadecimal digits that change with the files of the tokenizer."""
        digest = hashlib.sha256()
        with tempfile.TemporaryDirectory() as folder:
            self.tokenizer.save(folder)
            for path in sorted(path for path in pathlib.Path(folder).rglob("*") if path.is_file()):
                content = path.read_bytes()
                digest.update(f"{path.name} {len(content)} ".encode() + content)
        return digest.hexdigest()[:16]

    def __call__(self, texts: Sequence[str], starts: Sequence[Sequence[int]]) -> Tokenized:
        """Tokenize documents.

        Args:
            texts: n str.
            starts: for each text the places of its sentences' first characters, from 0.

        Returns:
            `Tokenized`.
        """
        counts = np.array([len(places) for places in starts], np.int64)
        if not len(texts):
            return Tokenized(np.zeros(0, np.int32), counts, counts)
        if self._by_sentence:
            sentences = [
                text[begin:end].strip()
                for text, places in zip(texts, starts, strict=True)
                for begin, end in zip(places, [*places[1:], len(text)], strict=True)
            ]
            ids = self.tokenizer.tokenize(sentences)
            return Tokenized(ids.values.numpy(), ids.row_lengths().numpy().astype(np.int64), counts)
        ids, begins, ends = self.tokenizer.tokenize_with_offsets(texts)
        if self._counts_bytes:
            starts = [_byte_places(text, places) for text, places in zip(texts, starts, strict=True)]
        # A token without a range, a part of a character of which the last part has it, ends after where it begins.
        last = np.maximum(ends.values.numpy(), begins.values.numpy() + 1).astype(np.int64)
        width = int(last.max(initial=0)) + max(map(len, texts)) * 4 + 1
        keys = np.maximum.accumulate(last + ids.value_rowids().numpy() * width)
        numbers = np.repeat(np.arange(len(texts)), counts)
        places = numbers * width + np.concatenate(starts).astype(np.int64)
        bounds = np.searchsorted(keys, places, side="right")
        return Tokenized(ids.values.numpy(), np.diff(bounds, append=len(keys)), counts)


def _byte_places(text: str, places: Sequence[int]) -> Sequence[int]:
    """Places of characters as places of bytes of UTF-8."""
    if text.isascii():
        return places
    ends = [*places[1:], places[-1]]
    sizes = [len(text[begin:end].encode()) for begin, end in zip(places, ends, strict=True)]
    return np.concatenate([[0], np.cumsum(sizes)[:-1]])


def _puts_blanks_before_sentences(tokenizer: Any) -> bool:
    """Whether the sentences of a text, tokenized one by one, are those of the text to a unigram model."""
    from keras_transformer.text import SentencePieceTokenizer, sentence_piece_files

    if not isinstance(tokenizer, SentencePieceTokenizer) or tokenizer.prefix != "always":
        return False
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto.FromString(tokenizer.model)
    facts = sentence_piece_files.facts_of(tokenizer.model)
    blanks = facts.adds_blank and model.normalizer_spec.remove_extra_whitespaces
    return facts.is_plain_unigram and blanks and model.trainer_spec.split_by_whitespace
