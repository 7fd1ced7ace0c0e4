"""Text by the gigabyte for benchmarks: words by a Zipf law over a generated vocabulary, lognormal document lengths.

The law is Zipf-Mandelbrot, 1 / (rank + 2.7)^1.07, over 200,000 words made of syllables, longer ones being rarer. The
lengths are those of movie reviews: a median of 174 words, a mean of 231. The same seed gives the same documents.
"""

from collections.abc import Iterator

import numpy as np

MEDIAN_WORDS, SIGMA = 174, 0.75
WORDS_OF_A_SENTENCE = 18
_WORDS_AT_ONCE = 1 << 20


class GeneratedText:
    """Documents without end.

    Args:
        seed: Of the documents; the vocabulary is always the same.
        vocabulary_size: Number of different words.
    """

    def __init__(self, seed: int = 0, vocabulary_size: int = 200_000):
        self._random = np.random.default_rng([seed, 1])
        self.vocabulary = _words(vocabulary_size)
        weights = 1 / (np.arange(vocabulary_size) + 2.7) ** 1.07
        self._cumulated = np.cumsum(weights / weights.sum())
        plain = np.array(self.vocabulary, object)
        # A word in the middle of a sentence, at its beginning, at its end, and alone.
        self._forms = np.stack([plain, *(np.array([form(w) for w in self.vocabulary], object) for form in _FORMS)])

    def words(self, count: int) -> np.ndarray:
        """Returns numbers of words by the law."""
        places = np.searchsorted(self._cumulated, self._random.random(count))
        return np.minimum(places, len(self.vocabulary) - 1)

    def text(self, words: np.ndarray) -> str:
        """Returns words as sentences."""
        ends = self._random.random(len(words)) < 1 / WORDS_OF_A_SENTENCE
        ends[-1:] = True
        begins = np.concatenate([[True], ends[:-1]])
        return " ".join(self._forms[begins + 2 * ends, words].tolist())

    def documents(self) -> Iterator[str]:
        """Yields documents."""
        for words in self.lengths_and_words():
            yield self.text(words)

    def lengths_and_words(self) -> Iterator[np.ndarray]:
        """Yields the words of documents, as numbers."""
        while True:
            words, place = self.words(_WORDS_AT_ONCE), 0
            while place < len(words):
                length = max(5, int(self._random.lognormal(np.log(MEDIAN_WORDS), SIGMA)))
                yield words[place : place + length]
                place += length


_FORMS = (str.capitalize, lambda word: f"{word}.", lambda word: f"{word.capitalize()}.")


def _words(count: int) -> list[str]:
    """Different words, the more frequent ones shorter."""
    random = np.random.default_rng(0)
    onsets = "b c d f g h k l m n p r s t t s v w br st th".split()
    nuclei = "a e i o u a e i o ea".split()
    codas = ["", "", "", "", "n", "r", "s", "t"]
    syllables = [onset + nucleus + coda for onset in onsets for nucleus in nuclei for coda in codas]
    found: dict[str, None] = {}
    while len(found) < count:
        length = 1 + sum(len(found) > limit for limit in (60, 3000, 60_000))
        rows = random.integers(len(syllables), size=(50 if length == 1 else 1000, length)).tolist()
        found.update(dict.fromkeys("".join(syllables[i] for i in row) for row in rows))
    return list(found)[:count]
