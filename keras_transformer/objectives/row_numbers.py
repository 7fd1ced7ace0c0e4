"""Random numbers of each row of an epoch, whatever batch it stands in (SplitMix64, Steele et al. 2014)."""

import zlib
from collections.abc import Sequence

import numpy as np

from keras_transformer.data.randomness import _GOLDEN, _mix


class RowNumbers:
    """Streams of random numbers for some rows of an epoch: functions of (seed, epoch, place, name of the stream).

    Args:
        seed: int.
        epoch: int.
        places: n ints, the places of the rows in the epoch.

    Example:
        ```python
        import numpy as np
        from keras_transformer.objectives import RowNumbers

        together = RowNumbers(0, 1, np.array([7, 8, 9])).uniforms("mask", 4)
        alone = RowNumbers(0, 1, np.array([8])).uniforms("mask", 6)
        assert together.shape == (3, 4) and (together[1] == alone[0, :4]).all()
        ```
    """

    def __init__(self, seed: int, epoch: int, places: np.ndarray | Sequence[int]) -> None:
        self.seed = int(seed)
        self.epoch = int(epoch)
        self.places = np.asarray(places, np.int64).reshape(-1)

    def uniforms(self, stream: str, count: int) -> np.ndarray:
        """Return numbers of a stream, each of them uniform in [0, 1); the first ones do not depend on how many.

        Args:
            stream: str, name of the stream.
            count: int, how many for each row.

        Returns:
            float64 `(n, count)`.
        """
        return (self._bits(stream, count) >> np.uint64(11)) * 2.0**-53

    def integers(self, stream: str, count: int, below: int) -> np.ndarray:
        """Return numbers of a stream, each uniform in 0 .. `below` - 1.

        Args:
            stream: str, name of the stream.
            count: int, how many for each row.
            below: int, above 0.

        Returns:
            int64 `(n, count)`.
        """
        return (self.uniforms(stream, count) * below).astype(np.int64)

    def _bits(self, stream: str, count: int) -> np.ndarray:
        # uint64 arrays wrap around silently, which is what SplitMix64 asks for.
        state = np.zeros(1, np.uint64)
        for value in (self.seed, zlib.crc32(stream.encode()), self.epoch):
            state = _mix(state + np.array([value & 0xFFFFFFFFFFFFFFFF], np.uint64) + _GOLDEN)
        keys = _mix(state + self.places.astype(np.uint64) + _GOLDEN)
        return _mix(keys[:, None] + np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN)
