"""Word vectors of one's own: skip-gram with negative sampling (Mikolov et al., arXiv 1310.4546), by gensim."""

import os
import re
from collections.abc import Callable, Iterable, Iterator

from keras_transformer.pretrained.word_vectors import WordVectors

# Runs of letters and digits, and every other character that is no white space: as BERT's tokenizer splits words.
_WORDS = re.compile(r"[^\W_]+|[^\w\s]|_")
# gensim passes over what comes after so many words of a text, without a word.
_MOST_WORDS = 10_000


def split_words(text: str) -> list[str]:
    """Splits a text into words and punctuation, in lower case.

    Args:
        text: str.

    Returns:
        List of str.

    Example:
        ```python
        from keras_transformer.pretrained.skip_gram import split_words

        assert split_words("It's 10 o'clock!") == ["it", "'", "s", "10", "o", "'", "clock", "!"]
        ```
    """
    return _WORDS.findall(text.lower())


def train_word_vectors(
    texts: Iterable[str],
    dim: int = 100,
    window: int = 5,
    min_count: int = 5,
    epochs: int = 5,
    workers: int | None = None,
    seed: int = 0,
    *,
    negative: int = 5,
    split: Callable[[str], list[str]] = split_words,
) -> WordVectors:
    """Learns a vector for each word from the words around it; needs gensim (the extra `vectors`).

    Args:
        texts: The texts (str), which are read `epochs + 1` times: a list, or an object that begins anew each time.
        dim: int, width of a vector. Default 100.
        window: int, words to each side that are predicted, at most. Default 5.
        min_count: int, occurrences that a word must have. Default 5.
        epochs: int, passes over the texts. Default 5.
        workers: int, threads. One gives the same vectors every time; several do not. Default None: as many as the cores
            that this process may use.
        seed: int. Default 0.
        negative: int, words drawn for each one that is predicted. Default 5.
        split: Function from a text to its words. Default: letters and digits in lower case, and punctuation, as BERT's
            tokenizer divides a text.

    Returns:
        `WordVectors`, the most frequent word first.

    Raises:
        ImportError: If gensim is not installed.
        ValueError: For a number below 1, texts that can be read only once, or if no word occurs often enough.

    Example:
        ```python
        from keras_transformer.pretrained import train_word_vectors

        texts = ["a good film", "a fine film", "a good play", "a fine play"] * 20
        vectors = train_word_vectors(texts, dim=8, min_count=2, epochs=2, workers=1)
        assert vectors.words[0] == "a" and vectors.matrix.shape == (5, 8)
        ```
    """
    numbers = {"dim": dim, "window": window, "min_count": min_count, "epochs": epochs, "negative": negative}
    for name, value in (numbers | {"workers": 1 if workers is None else workers}).items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be an integer of at least 1. Received: {value!r}")
    if iter(texts) is texts:
        raise ValueError(
            "texts are read several times: pass a list, or an object whose __iter__ begins anew. "
            f"Received: {type(texts).__name__}, which can be read once"
        )
    try:
        from gensim.models import Word2Vec
    except ImportError as error:
        raise ImportError(
            "Word vectors are trained by gensim, which is missing: pip install 'keras-transformer-toolkit[vectors]'. "
            f"Received: {error}"
        ) from error
    sentences = _Sentences(texts, split)
    model = Word2Vec(
        vector_size=dim,
        window=window,
        min_count=min_count,
        negative=negative,
        sg=1,
        workers=len(os.sched_getaffinity(0)) if workers is None else workers,
        seed=seed,
    )
    model.build_vocab(sentences)
    if not len(model.wv):
        raise ValueError(
            f"There must be a word that occurs at least {min_count} times: use more text, or a lower min_count. "
            f"Received: {model.corpus_count} texts with {model.corpus_total_words} words"
        )
    model.train(sentences, total_examples=model.corpus_count, epochs=epochs)
    return WordVectors(tuple(model.wv.index_to_key), model.wv.vectors)


class _Sentences:
    """The words of texts, which can be read again."""

    def __init__(self, texts: Iterable[str], split: Callable[[str], list[str]]):
        self._texts = texts
        self._split = split

    def __iter__(self) -> Iterator[list[str]]:
        for text in self._texts:
            words = self._split(text)
            for start in range(0, len(words), _MOST_WORDS):
                yield words[start : start + _MOST_WORDS]
