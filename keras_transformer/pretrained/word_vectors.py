"""Word vectors: GloVe (Pennington et al. 2014) and word2vec (Mikolov et al., arXiv 1310.4546), read and written."""

import dataclasses
import functools
import os
from collections.abc import Collection

import numpy as np

from keras_transformer.pretrained import word_vector_files


@dataclasses.dataclass(frozen=True, eq=False)
class WordVectors:
    """Words and a vector for each of them.

    Args:
        words: Tuple of str, each once; files and `train_word_vectors` have the most frequent first.
        matrix: Float32 of shape (words, dim), finite.

    Raises:
        ValueError: If there is no word, one occurs twice, or the matrix does not fit.

    Example:
        ```python
        import numpy as np
        from keras_transformer.pretrained import WordVectors

        vectors = WordVectors(("good", "fine", "bad"), np.array([[1, 0.1], [1, 0.2], [-1, 0.1]]))
        vectors.save("vectors.txt.gz", format="word2vec")
        loaded = WordVectors.load("vectors.txt.gz", wanted={"good", "fine"})
        assert loaded.words == ("good", "fine") and loaded.dim == 2
        assert vectors.nearest("good", 1)[0][0] == "fine"
        ```
    """

    words: tuple[str, ...]
    matrix: np.ndarray

    def __post_init__(self) -> None:
        """Check the parts, and give them their types."""
        words, matrix = tuple(self.words), np.asarray(self.matrix, np.float32)
        if not words or matrix.ndim != 2 or len(matrix) != len(words) or not matrix.shape[1]:
            raise ValueError(
                "There must be at least one word, and a matrix of shape (words, dim). "
                f"Received: {len(words)} words, a matrix of shape {matrix.shape}"
            )
        if not np.isfinite(matrix).all():
            bad = words[int((~np.isfinite(matrix)).any(axis=1).argmax())]
            raise ValueError(f"Every vector must be finite. Received: one of {bad!r} that is not")
        object.__setattr__(self, "words", words)
        object.__setattr__(self, "matrix", matrix)
        if len(self.places) != len(words):
            bad = next(word for place, word in enumerate(words) if self.places[word] != place)
            raise ValueError(f"Every word must occur once. Received: {bad!r} more often")

    def __len__(self) -> int:
        """Return the number of words."""
        return len(self.words)

    @property
    def dim(self) -> int:
        """The width of a vector."""
        return self.matrix.shape[1]

    @functools.cached_property
    def places(self) -> dict[str, int]:
        """The place of each word."""
        return {word: place for place, word in enumerate(self.words)}

    def vector(self, word: str) -> np.ndarray:
        """Returns the vector of a word, float32 of shape (dim,).

        Args:
            word: str.

        Raises:
            ValueError: If there is no such word.
        """
        if word not in self.places:
            raise ValueError(f"These {len(self)} word vectors do not have this word. Received: {word!r}")
        return self.matrix[self.places[word]]

    def nearest(self, word: str, count: int = 10) -> list[tuple[str, float]]:
        """Returns the words whose vectors point most nearly the same way.

        Args:
            word: str, which is not among them.
            count: int, how many. Default 10.

        Returns:
            List of words and cosines, the largest first.

        Raises:
            ValueError: If there is no such word.
        """
        cosines = _unit(self.matrix) @ _unit(self.vector(word)[None])[0]
        order = np.argsort(-cosines, kind="stable")
        order = order[order != self.places[word]][:count]
        return [(self.words[place], float(cosines[place])) for place in order]

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], wanted: Collection[str] | None = None, limit: int | None = None
    ) -> "WordVectors":
        """Reads a file: text of GloVe or word2vec (and of fastText, `.vec`), or word2vec's binary form; also gzipped.

        The file is streamed, and only the wanted words are kept. Lines that cannot be used (vectors of another width,
        what is no finite number or not UTF-8, words that came before) are left out, counted and logged.

        Args:
            path: The file.
            wanted: Words to keep, as the file writes them; None for all (default).
            limit: int, read only so many lines from the beginning; None for all (default). Files have the most frequent
                words first.

        Returns:
            `WordVectors`, in the order of the file.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If nothing in it can be used, none of the wanted words is in it, or it is cut in the middle.
        """
        return cls(*word_vector_files.read(path, wanted, limit))

    def save(self, path: str | os.PathLike[str], format: str = "glove") -> None:
        """Writes a file, whole or not at all; numbers are read back exactly.

        Args:
            path: The file, in a folder that exists; one that ends in ".gz" is compressed.
            format: "glove" (default), text without a header; "word2vec", text with one; or "word2vec_binary".

        Raises:
            ValueError: For an unknown format, or a word with white space that the format does not allow.
        """
        word_vector_files.write(path, self.words, self.matrix, format)


def _unit(matrix: np.ndarray) -> np.ndarray:
    return matrix / np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), np.finfo(np.float32).tiny)
