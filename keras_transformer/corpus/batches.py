"""The documents of a corpus on their way to the tokenizer: cleaned, each once, in batches."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_transformer.corpus.cleaning import Cleaning
from keras_transformer.corpus.counts import Counts
from keras_transformer.corpus.deduplication import HashSet, text_hash
from keras_transformer.corpus.near_duplicates import NearDuplicateIndex, NearDuplicates
from keras_transformer.corpus.sentences import sentence_starts
from keras_transformer.corpus.shards import Shards
from keras_transformer.corpus.sources import Corpus

# Characters that are cleaned, compared and tokenized at once.
_BATCH = 1 << 19


@dataclasses.dataclass
class Batch:
    """Documents on their way to the tokenizer.

    Attributes:
        texts: Their texts.
        starts: For each where its sentences begin.
        held_out: bool `(n,)`, which of them are held out.
        kept: Arrays with which what was seen can be restored: hashes, signatures.
        state: dict as JSON has it, the place in the corpus and the counts after these documents.
    """

    texts: list[str]
    starts: list[list[int]]
    held_out: np.ndarray
    kept: dict[str, np.ndarray]
    state: dict[str, Any]


class Documents:
    """The documents of a corpus, cleaned, each once, in batches.

    Args:
        corpus: `Corpus`.
        cleaning: `Cleaning`.
        duplicates: bool, keep documents that occurred before.
        near_duplicates: `NearDuplicates`, or False to keep what nearly occurred before.
        held_out: float in [0, 1), share of the documents that are held out.
    """

    def __init__(
        self,
        corpus: Corpus,
        cleaning: Cleaning,
        duplicates: bool,
        near_duplicates: NearDuplicates | bool,
        held_out: float,
    ) -> None:
        self.counts = Counts()
        self._corpus, self._cleaning, self._held_out = corpus, cleaning, held_out
        self._seen = None if duplicates else HashSet()
        self._near = NearDuplicateIndex(near_duplicates) if near_duplicates else None
        self._place = (0, 0)

    def restore(self, state: dict[str, Any], shards: Shards) -> None:
        """Go on after the last finished part.

        Args:
            state: what `Batch.state` was then.
            shards: `Shards`, for what was seen.
        """
        self._place = tuple(state["place"])
        self.counts.set(state["counts"])
        if self._seen is not None:
            for hashes in shards.arrays("hashes"):
                self._seen.add(hashes)
        if self._near is not None:
            for signatures in shards.arrays("signatures"):
                self._near.restore(signatures)

    def __iter__(self) -> Iterator[Batch]:
        texts: list[str] = []
        size = 0
        for document in self._corpus.read(self._place, self.counts):
            self._place = document.place
            text = self._cleaning(document.text, self.counts.notes)
            if text:
                texts.append(text)
                size += len(text)
            else:
                self.counts.dropped["too_short"] += 1
            if size >= _BATCH:
                yield self._batch(texts)
                texts, size = [], 0
        yield self._batch(texts)

    def _batch(self, texts: list[str]) -> Batch:
        hashes = np.fromiter(map(text_hash, texts), np.uint64, len(texts))
        kept: dict[str, np.ndarray] = {}
        if self._seen is not None:
            texts, hashes = self._without(self._seen.add(hashes), "duplicates", texts, hashes)
            kept["hashes"] = hashes
        if self._near is not None:
            signatures = self._near.signatures(texts)
            new = self._near.add(signatures)
            texts, hashes = self._without(new, "near_duplicates", texts, hashes)
            kept["signatures"] = signatures[new]
        state = {"place": list(self._place), "counts": self.counts.to_dict()}
        chosen = hashes < np.uint64(int(self._held_out * 2**64))
        return Batch(texts, [sentence_starts(text) for text in texts], chosen, kept, state)

    def _without(
        self, new: np.ndarray, reason: str, texts: list[str], hashes: np.ndarray
    ) -> tuple[list[str], np.ndarray]:
        if not new.all():
            self.counts.dropped[reason] += int((~new).sum())
            texts = [text for text, keep in zip(texts, new.tolist(), strict=True) if keep]
        return texts, hashes[new]
