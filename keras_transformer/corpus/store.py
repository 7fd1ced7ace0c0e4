"""Tokenized documents, one after the other: in memory, or mapped from a folder."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from keras_transformer._files import write_text

FORMAT = 1
_ARRAYS = ("tokens", "sentences", "documents")
_ABOUT = "about.json"


@dataclasses.dataclass(frozen=True, eq=False)
class TokenStore:
    """Tokenized documents, one after the other, without special tokens; memory-mapped when they come from disk.

    Workers need no parts of their own: each opens the same folder, and whoever reads rows of it says which
    (`FullRows.read` and `Chunks.read` are functions of the epoch and of places), so sharding is a choice of places.

    Args:
        tokens: (num_tokens,) uint16 where the vocabulary is below 65,536, else int32.
        sentences: (num_sentences + 1,) int64, the place of each sentence's first token, and the end.
        documents: (num_documents + 1,) int64, the number of each document's first sentence, and the end.
        about: dict as JSON has it: `vocabulary_size`, and for a prepared corpus its source, the fingerprint of the
            tokenizer and the counts of what was read, kept, dropped by reason and changed.

    Raises:
        ValueError: if the parts do not fit each other.

    Example:
        ```python
        from keras_transformer.corpus import TokenStore

        store = TokenStore.of([[[5, 6, 7], [8]], [[9, 9]]], vocabulary_size=10)
        assert (store.num_documents, store.num_sentences, store.num_tokens) == (2, 3, 6)
        assert store.document(0).tolist() == [5, 6, 7, 8]
        ```
    """

    tokens: np.ndarray
    sentences: np.ndarray
    documents: np.ndarray
    about: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the ends: to look at more would read all of a mapped file."""
        for name in ("sentences", "documents"):
            if getattr(self, name).dtype != np.int64 or not getattr(self, name).size:
                raise ValueError(f"`{name}` must be int64, and have an end. Received: {getattr(self, name)!r}.")
        ends = (int(self.sentences[0]), int(self.sentences[-1]), int(self.documents[0]), int(self.documents[-1]))
        if ends != (0, self.num_tokens, 0, self.num_sentences):
            raise ValueError(
                f"`sentences` must go from 0 to the {self.num_tokens} tokens, `documents` from 0 to the "
                f"{self.num_sentences} sentences. Received: {ends[:2]} and {ends[2:]}."
            )

    @property
    def num_tokens(self) -> int:
        """Number of tokens."""
        return len(self.tokens)

    @property
    def num_sentences(self) -> int:
        """Number of sentences, none of them empty."""
        return len(self.sentences) - 1

    @property
    def num_documents(self) -> int:
        """Number of documents, none of them empty."""
        return len(self.documents) - 1

    def document(self, number: int) -> np.ndarray:
        """Return the tokens of a document.

        Args:
            number: int, from 0 to `num_documents - 1`.

        Returns:
            int32 `(tokens,)`.

        Raises:
            IndexError: if there is no such document.
        """
        if not 0 <= number < self.num_documents:
            raise IndexError(f"There are documents 0 to {self.num_documents - 1}. Received: {number}.")
        start, end = self.sentences[self.documents[number : number + 2]]
        return self.tokens[start:end].astype(np.int32)

    def starts(self) -> np.ndarray:
        """Return the place of each document's first token, and the end: int64 `(num_documents + 1,)`."""
        return np.asarray(self.sentences[self.documents])

    @classmethod
    def of(cls, documents: Sequence[Sequence[Sequence[int]]], vocabulary_size: int) -> "TokenStore":
        """Make a store in memory.

        Args:
            documents: Documents of sentences of token ids. Empty sentences and documents are dropped and counted.
            vocabulary_size: int, number of tokens of the vocabulary.

        Returns:
            `TokenStore`.

        Raises:
            ValueError: if an id is not one of the vocabulary.
        """
        sentences = [[np.asarray(sentence, np.int64) for sentence in document] for document in documents]
        filled = [[sentence for sentence in document if sentence.size] for document in sentences]
        kept = [document for document in filled if document]
        flat = [sentence for document in kept for sentence in document]
        tokens = np.concatenate([np.zeros(0, np.int64), *flat])
        wrong = tokens[(tokens < 0) | (tokens >= vocabulary_size)]
        if wrong.size:
            raise ValueError(
                f"Token ids must be from 0 to {vocabulary_size - 1}, the vocabulary. Received: {int(wrong[0])}."
            )
        return cls(
            tokens.astype(token_dtype(vocabulary_size)),
            splits_of([len(sentence) for sentence in flat]),
            splits_of([len(document) for document in kept]),
            {
                "vocabulary_size": int(vocabulary_size),
                "source": "memory",
                "read": len(sentences),
                "kept": len(kept),
                "dropped": {
                    "empty": len(sentences) - len(kept),
                    "empty_sentences": sum(map(len, sentences)) - len(flat),
                },
            },
        )

    @classmethod
    def open(cls, folder: str | os.PathLike) -> "TokenStore":
        """Open a folder that `corpus.prepare` or `save` wrote; nothing is read but what is asked for.

        Args:
            folder: path.

        Returns:
            `TokenStore` of memory-mapped arrays.

        Raises:
            FileNotFoundError: if there is no store.
            ValueError: if it is damaged, or of another format.
        """
        folder = pathlib.Path(folder)
        if not (folder / _ABOUT).is_file():
            raise FileNotFoundError(
                f"There is no tokenized corpus in this folder: make one with corpus.prepare. Received: {folder}."
            )
        try:
            about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
            if about.get("format") != FORMAT:
                raise ValueError(f"it has format {about.get('format')}, and this version reads {FORMAT}")
            # np.load gives up on a file that is shorter than its header says.
            arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS}
            return cls(**arrays, about=about)
        except (OSError, ValueError, EOFError) as error:
            raise ValueError(
                f"The tokenized corpus is damaged: remove it and prepare it again. Received: {folder} ({error})."
            ) from error

    def save(self, folder: str | os.PathLike) -> None:
        """Write the store into a folder that is there already.

        Args:
            folder: path.
        """
        parts = {name: (getattr(self, name).dtype, len(getattr(self, name)), [getattr(self, name)]) for name in _ARRAYS}
        write_store(pathlib.Path(folder), parts, self.about)


def token_dtype(vocabulary_size: int) -> np.dtype:
    """Return the type of the token ids: uint16 where the vocabulary is below 65,536, else int32."""
    return np.dtype(np.uint16 if vocabulary_size < 1 << 16 else np.int32)


def splits_of(lengths: Sequence[int] | np.ndarray, before: int = 0) -> np.ndarray:
    """Return where parts of these lengths begin, and the end: int64, one more than there are parts.

    Args:
        lengths: ints.
        before: int, where the first one begins. Default 0.
    """
    return before + np.concatenate([[0], np.cumsum(np.asarray(lengths, np.int64))]).astype(np.int64)


def write_store(
    folder: pathlib.Path,
    parts: Mapping[str, tuple[np.dtype, int, Iterable[np.ndarray]]],
    about: Mapping[str, Any],
) -> None:
    """Write the files of a store, each array part by part, so that none need be in memory.

    Args:
        folder: path; must be there.
        parts: for "tokens", "sentences" and "documents" the type, the length and the array in parts.
        about: dict as JSON has it; it is written last, so a store without it is not one.

    Raises:
        ValueError: if the parts of an array are together longer or shorter than said.
    """
    for name in _ARRAYS:
        dtype, length, arrays = parts[name]
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": (length,)}
        written = 0
        with (folder / f"{name}.npy").open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for array in arrays:
                # Written, not mapped: pages of a mapped file would count as memory of this process.
                file.write(np.ascontiguousarray(array, dtype).data)
                written += len(array)
            file.flush()
            os.fsync(file.fileno())
        if written != length:
            raise ValueError(f"{name} must have {length} entries, as was said before. Received: {written}.")
    write_text(folder / _ABOUT, json.dumps({"format": FORMAT, **about}, indent=1, ensure_ascii=False) + "\n")
