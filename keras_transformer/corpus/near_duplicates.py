"""Documents that nearly occurred before: MinHash signatures by `datasketch`, and an index of their bands in NumPy."""

import dataclasses
import re
import zlib
from collections.abc import Sequence

import numpy as np

from keras_transformer.corpus.deduplication import text_hash

_WORDS = re.compile(r"[^\W_]+")
# An odd number of 64 bits (that of SplitMix64), by which the words of a shingle and the hashes of a band are combined.
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
# Shingles that are permuted at once: 128 permutations of them take 2 MB.
_SLICE = 2048
# Signatures that are kept in one array.
_PAGE = 4096
# A pair that is just as similar as the threshold shall be looked at with this probability at least.
_FOUND = 0.95


@dataclasses.dataclass(frozen=True)
class NearDuplicates:
    """When two documents count as nearly the same: by MinHash over the runs of words they share.

    The similarity is the number of different runs of `shingle_words` words that two documents share, in proportion to
    those of both together (Jaccard); `num_perm` hashes estimate it (at 0.8 and 128 with a standard deviation of 0.035).
    Pairs whose signatures agree in one of several bands are looked at; a document whose estimate with one before it
    reaches the threshold is a near duplicate. Words are runs of letters and digits: texts without blanks, such as
    Chinese ones, are compared by what stands between their marks.

    Args:
        threshold: float in (0, 1), from which similarity on. Default 0.8.
        num_perm: int, number of hashes. Default 128.
        shingle_words: int, words of a run. Default 5.

    Raises:
        ValueError: if an argument is out of its range.

    Reference: Broder, "On the resemblance and containment of documents", 1997; [Deduplicating Training Data Makes
    Language Models Better](https://arxiv.org/abs/2107.06499).

    Example:
        ```python
        from keras_transformer.corpus import NearDuplicates

        assert NearDuplicates().bands == (18, 7)  # 18 bands of 7 hashes
        ```
    """

    threshold: float = 0.8
    num_perm: int = 128
    shingle_words: int = 5

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1:
            raise ValueError(f"`threshold` must be between 0 and 1. Received: {self.threshold}.")
        if self.num_perm < 16 or self.shingle_words < 1:
            raise ValueError(
                "`num_perm` must be at least 16 and `shingle_words` at least 1. "
                f"Received: {self.num_perm} and {self.shingle_words}."
            )

    @property
    def bands(self) -> tuple[int, int]:
        """Number of bands of a signature, and of hashes in each: the longest bands that find enough pairs."""
        for rows in range(self.num_perm, 1, -1):
            count = self.num_perm // rows
            if 1 - (1 - self.threshold**rows) ** count >= _FOUND:
                return count, rows
        return self.num_perm, 1


class NearDuplicateIndex:
    """Finds documents that are nearly the same as one that was added before.

    Its memory is that of a signature, 4 bytes a hash, and of its bands, 12 bytes each: 730 bytes a document with the
    default settings, and for a moment as much again while blocks of bands are merged.

    Args:
        settings: `NearDuplicates`.

    Raises:
        ImportError: if `datasketch` is not installed.
    """

    def __init__(self, settings: NearDuplicates) -> None:
        try:
            import datasketch
        except ImportError as error:
            raise ImportError(
                f"Near duplicates need a package: `pip install keras-transformer-toolkit[corpus]`. Received: {error}."
            ) from error
        self.settings = settings
        # The shingles are hashed already; here they are only permuted.
        self._empty = datasketch.MinHash(settings.num_perm, seed=1, hashfunc=int, scheme="affine32")
        self._blocks: list[tuple[np.ndarray, np.ndarray]] = []
        self._pages: list[np.ndarray] = []
        self._count = 0

    def __len__(self) -> int:
        """Return the number of documents that are no near duplicates."""
        return self._count

    @property
    def nbytes(self) -> int:
        """Bytes of signatures and bands in memory."""
        return sum(keys.nbytes + numbers.nbytes for keys, numbers in self._blocks) + sum(p.nbytes for p in self._pages)

    def signatures(self, texts: Sequence[str]) -> np.ndarray:
        """Compute the signatures of texts.

        Args:
            texts: n str.

        Returns:
            uint32 `(n, num_perm)`.
        """
        found = np.empty((len(texts), self.settings.num_perm), np.uint32)
        for row, text in enumerate(texts):
            minhash = self._empty.copy()
            shingles = shingle_hashes(text, self.settings.shingle_words)
            for start in range(0, len(shingles), _SLICE):
                minhash.update_batch(shingles[start : start + _SLICE].tolist())
            found[row] = minhash.hashvalues
        return found

    def add(self, signatures: np.ndarray) -> np.ndarray:
        """Add documents, one after the other.

        Args:
            signatures: (n, num_perm) uint32.

        Returns:
            bool `(n,)`, which of them are no near duplicates of one that was added before. Only these are kept.
        """
        bands = self._band_hashes(signatures)
        before = self._find(bands)
        here: dict[int, list[int]] = {}
        new = np.zeros(len(signatures), bool)
        for row, keys in enumerate(bands.tolist()):
            known = [self._signature(number) for number in before.get(row, ())]
            known += [signatures[other] for other in {other for key in keys for other in here.get(key, ())}]
            if any(self._alike(signatures[row], other) for other in known):
                continue
            new[row] = True
            for key in keys:
                here.setdefault(key, []).append(row)
        self._keep(signatures[new], bands[new])
        return new

    def restore(self, signatures: np.ndarray) -> None:
        """Add documents that are known to be no near duplicates.

        Args:
            signatures: (n, num_perm) uint32.
        """
        self._keep(signatures, self._band_hashes(signatures))

    def _alike(self, one: np.ndarray, other: np.ndarray) -> bool:
        return np.count_nonzero(one == other) >= self.settings.threshold * self.settings.num_perm

    def _band_hashes(self, signatures: np.ndarray) -> np.ndarray:
        """A hash of each band of each signature, (n, bands) uint64; the number of the band is in it."""
        count, rows = self.settings.bands
        parts = signatures[:, : count * rows].astype(np.uint64).reshape(len(signatures), count, rows)
        hashes = np.broadcast_to(np.arange(count, dtype=np.uint64), parts.shape[:2])
        for row in range(rows):
            hashes = (hashes ^ parts[:, :, row]) * _MULTIPLIER
            hashes = hashes ^ (hashes >> np.uint64(29))
        return hashes

    def _find(self, bands: np.ndarray) -> dict[int, set[int]]:
        """The documents that share a band with each row, for the rows where there are any."""
        flat = bands.reshape(-1)
        found: dict[int, set[int]] = {}
        for keys, numbers in self._blocks:
            first, last = (np.searchsorted(keys, flat, side=side) for side in ("left", "right"))
            for place in np.flatnonzero(last > first).tolist():
                found.setdefault(place // bands.shape[1], set()).update(numbers[first[place] : last[place]].tolist())
        return found

    def _signature(self, number: int) -> np.ndarray:
        return self._pages[number // _PAGE][number % _PAGE]

    def _keep(self, signatures: np.ndarray, bands: np.ndarray) -> None:
        if not len(signatures):
            return
        numbers = np.arange(self._count, self._count + len(signatures))
        for number, signature in zip(numbers.tolist(), signatures, strict=True):
            if number % _PAGE == 0:
                self._pages.append(np.empty((_PAGE, self.settings.num_perm), np.uint32))
            self._pages[-1][number % _PAGE] = signature
        self._count += len(signatures)
        self._blocks.append(_sorted(bands.reshape(-1), np.repeat(numbers, bands.shape[1]).astype(np.int32)))
        while len(self._blocks) > 1 and len(self._blocks[-2][0]) <= 2 * len(self._blocks[-1][0]):
            pairs = [self._blocks.pop(-2), self._blocks.pop()]
            self._blocks.append(_sorted(*(np.concatenate(columns) for columns in zip(*pairs, strict=True))))


def shingle_hashes(text: str, words: int = 5) -> np.ndarray:
    """Hash the runs of words of a text.

    Args:
        text: str.
        words: int, words of a run; a text with fewer is one run. Default 5.

    Returns:
        uint64 array of the different hashes, each below 2**32; at least one.
    """
    found = _WORDS.findall(text.lower())
    if not found:  # of marks only
        return np.array([text_hash(text) >> 32], np.uint64)
    hashes = np.fromiter((zlib.crc32(word.encode("utf-8", "surrogatepass")) for word in found), np.uint64, len(found))
    words = min(words, len(found))
    count = len(found) - words + 1
    runs = np.zeros(count, np.uint64)
    for place in range(words):
        runs = (runs ^ hashes[place : place + count]) * _MULTIPLIER
    return np.unique(runs >> np.uint64(32))


def _sorted(keys: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(keys, kind="stable")
    return keys[order], numbers[order]
