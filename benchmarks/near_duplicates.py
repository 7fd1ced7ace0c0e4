"""Near duplicates among 200,000 documents: how many of those that were planted are found, in what time and memory.

    python benchmarks/near_duplicates.py

Documents of lognormal length, words by a Zipf law (`generated_text.py`). One in five is an earlier one in which words
were replaced, so many that the similarity (Jaccard, runs of five words) goes from 0.4 to 1; it is computed exactly for
each of these pairs. Recall is the share that is dropped of the pairs at the threshold or above, precision the share of
the dropped documents that are such a pair. An estimate by 128 hashes is off by 0.035 (one standard deviation) at 0.8,
so mistakes belong next to the threshold: the shares are given by similarity, too. Linux only.
"""

import argparse
import collections
import itertools
import json
import pathlib
import time

import numpy as np
import rounds
from generated_text import GeneratedText

PLANTED_EVERY, ORIGINALS = 5, 5000
BATCH = 400
EDGES = (0.0, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.01)


class Documents:
    """Documents in batches, and the similarity of each planted one with its original (0 for the others)."""

    def __init__(self, seed: int = 0):
        self._source = GeneratedText(seed)
        self._random = np.random.default_rng([seed, 2])
        self._words = self._source.lengths_and_words()
        self._originals: collections.deque[np.ndarray] = collections.deque(maxlen=ORIGINALS)
        self._number = 0

    def batch(self, count: int) -> tuple[list[str], np.ndarray]:
        """Returns texts and similarities."""
        texts, similar = [], np.zeros(count)
        for row in range(count):
            self._number += 1
            if self._number % PLANTED_EVERY or not self._originals:
                words = next(self._words)
                self._originals.append(words)
            else:
                original = self._originals[self._random.integers(len(self._originals))]
                words = original.copy()
                # Each replaced word changes five runs: a share s of them leaves a similarity of about (1-5s)/(1+5s).
                edits = self._random.binomial(len(words), self._random.uniform(0, 0.09))
                words[self._random.choice(len(words), edits, replace=False)] = self._source.words(edits)
                similar[row] = jaccard(original, words)
            texts.append(self._source.text(words))
        return texts, similar


def jaccard(one: np.ndarray, other: np.ndarray, words: int = 5) -> float:
    """Returns the exact similarity of two documents, given as numbers of words."""
    sets = [{tuple(row) for row in _runs(document, words).tolist()} for document in (one, other)]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def _runs(document: np.ndarray, words: int) -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(document, min(words, len(document)))


def measure(count: int) -> dict:
    """Returns what was found, and what it took."""
    from keras_transformer.corpus import NearDuplicateIndex, NearDuplicates
    from keras_transformer.plan.process import resident

    settings = NearDuplicates()
    index, documents = NearDuplicateIndex(settings), Documents()
    similar, dropped = [], []
    spent = {"signatures": 0.0, "index": 0.0}
    index.signatures(Documents(seed=1).batch(BATCH)[0])  # so that the libraries are there before the memory is read
    before, most = resident(), 0
    for start in range(0, count, BATCH):
        texts, similarities = documents.batch(min(BATCH, count - start))
        times = [time.perf_counter()]
        signatures = index.signatures(texts)
        times.append(time.perf_counter())
        new = index.add(signatures)
        times.append(time.perf_counter())
        spent["signatures"] += times[1] - times[0]
        spent["index"] += times[2] - times[1]
        similar.append(similarities)
        dropped.append(~new)
        most = max(most, resident() - before)
    similar, dropped = np.concatenate(similar), np.concatenate(dropped)
    alike = similar >= settings.threshold
    bins = {}
    for low, high in itertools.pairwise(EDGES):
        here = (similar >= low) & (similar < high) & (similar > 0)
        if here.any():
            bins[f"{low:.2f} to {min(high, 1):.2f}"] = {
                "pairs": int(here.sum()),
                "dropped": round(float(dropped[here].mean()), 4),
            }
    return {
        "documents": count,
        "planted_at_the_threshold_or_above": int(alike.sum()),
        "dropped": int(dropped.sum()),
        "dropped_that_were_not_planted": int((dropped & (similar == 0)).sum()),
        "recall": round(float(dropped[alike].mean()), 4),
        "precision": round(float(alike[dropped].mean()), 4),
        "by_similarity": bins,
        "seconds": {name: round(value, 1) for name, value in spent.items()}
        | {"together": round(sum(spent.values()), 1)},
        "megabytes": {
            "index": round(index.nbytes / 1e6, 1),
            "resident": round((resident() - before) / 1e6, 1),
            "most_resident": round(most / 1e6, 1),
        },
        "bytes_per_kept_document": round(index.nbytes / len(index), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=200_000, help="number of documents (default 200,000)")
    parser.add_argument("--smoke", action="store_true", help="a tiny size: only to see that it works")
    parser.add_argument("--output", type=pathlib.Path, default=rounds.RESULTS / "near_duplicates.json")
    options = parser.parse_args()
    result = {"settings": rounds.machine()} | measure(1500 if options.smoke else options.documents)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
