"""Documents that occurred before: 64-bit hashes of texts, and a compact set of them."""

import hashlib

import numpy as np


def text_hash(text: str) -> int:
    """Hash a text, whatever its case and white space.

    Args:
        text: str.

    Returns:
        int of 64 bits, the first of BLAKE2b. (Of 10 million different texts two have the same once in 400,000 corpora.)

    Example:
        ```python
        from keras_transformer.corpus import text_hash

        assert text_hash("A good\\n film.") == text_hash("a GOOD film. ") != text_hash("A good film!")
        ```
    """
    normalised = " ".join(text.lower().split())
    return int.from_bytes(
        hashlib.blake2b(normalised.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little"
    )


class HashSet:
    """A set of 64-bit hashes in sorted blocks: 8 bytes each, and for a moment up to 20 while blocks are merged.

    Example:
        ```python
        import numpy as np
        from keras_transformer.corpus import HashSet

        seen = HashSet()
        assert seen.add(np.array([7, 5, 7], np.uint64)).tolist() == [True, True, False]
        assert seen.add(np.array([5, 6], np.uint64)).tolist() == [False, True]
        assert (len(seen), seen.nbytes) == (3, 24)
        ```
    """

    def __init__(self) -> None:
        self._blocks: list[np.ndarray] = []

    def __len__(self) -> int:
        """Return the number of different hashes."""
        return sum(map(len, self._blocks))

    @property
    def nbytes(self) -> int:
        """Bytes of the hashes in memory."""
        return sum(block.nbytes for block in self._blocks)

    def add(self, hashes: np.ndarray) -> np.ndarray:
        """Add hashes.

        Args:
            hashes: (n,) uint64.

        Returns:
            bool `(n,)`, which of them are new; of equal ones the first.
        """
        different, first = np.unique(np.asarray(hashes, np.uint64), return_index=True)
        new = np.ones(len(different), bool)
        for block in self._blocks:
            places = np.minimum(np.searchsorted(block, different), len(block) - 1)
            new &= block[places] != different
        if new.any():
            self._blocks.append(different[new])
        # Each hash is merged as often as the set has doubled since it came.
        while len(self._blocks) > 1 and len(self._blocks[-2]) <= 2 * len(self._blocks[-1]):
            pair = [self._blocks.pop(), self._blocks.pop()]
            merged = np.concatenate(pair)
            del pair
            merged.sort(kind="stable")  # which merges runs that are sorted
            self._blocks.append(merged)
        found = np.zeros(len(hashes), bool)
        found[first[new]] = True
        return found
