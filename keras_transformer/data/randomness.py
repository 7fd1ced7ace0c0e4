"""A seeded permutation that is the same on every machine and NumPy version (SplitMix64, Steele et al. 2014)."""

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def permutation(size: int, *seeds: int) -> np.ndarray:
    """Return a permutation of `range(size)` that depends on nothing but the arguments.

    Args:
        size: int, number of elements.
        *seeds: ints; each combination gives its own permutation.

    Returns:
        int64 array `(size,)`.

    Example:
        ```python
        from keras_transformer.data.randomness import permutation

        assert sorted(permutation(5, 0, 1)) == [0, 1, 2, 3, 4]
        assert (permutation(100, 7) == permutation(100, 7)).all()
        ```
    """
    state = np.zeros(1, np.uint64)
    for seed in seeds:
        state = _mix(state + np.array([int(seed) & 0xFFFFFFFFFFFFFFFF], np.uint64) + _GOLDEN)
    # uint64 arrays wrap around silently, which is what SplitMix64 asks for.
    keys = _mix(state + np.arange(1, size + 1, dtype=np.uint64) * _GOLDEN)
    return np.argsort(keys, kind="stable").astype(np.int64)


def _mix(state: np.ndarray) -> np.ndarray:
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
