"""Random spans that do not touch each other: how a row is cut into what is left and what is taken out."""

import numpy as np


def compositions(keys: np.ndarray, total: int, parts: int) -> np.ndarray:
    """Divide a number of tokens into parts, every division as likely as the others.

    Args:
        keys: float `(n, total - 1 or more)`, random numbers of each row.
        total: int, number of tokens.
        parts: int, number of parts, from 1 to `total`.

    Returns:
        int64 `(n, parts)`, each at least 1, each row with the sum `total`.

    Raises:
        ValueError: if there are more parts than tokens.
    """
    if not 1 <= parts <= total:
        raise ValueError(f"There must be from 1 to {total} parts of {total} tokens. Received: {parts}.")
    # The cuts are places between tokens, all different: those with the least keys.
    cuts = np.argsort(keys[:, : total - 1], axis=1, kind="stable")[:, : parts - 1] + 1
    ends = np.full((len(keys), 1), total)
    return np.diff(np.concatenate([np.zeros_like(ends), np.sort(cuts, axis=1), ends], axis=1), axis=1)


def random_spans(keys: np.ndarray, lengths: np.ndarray, length: int) -> np.ndarray:
    """Place spans in rows of tokens: at random, at least one token apart.

    Args:
        keys: float `(n, length + 1 or more)`, random numbers of each row.
        lengths: int64 `(n, spans)`, tokens of each span, each row with the same sum.
        length: int, tokens of a row; what the spans leave must be at least `spans - 1`.

    Returns:
        int64 `(n, length)`: 0 for tokens before the first span, 1 for those of the first span, 2 for those between that
        and the second, and so on: odd within spans, even between them.
    """
    rows, spans = lengths.shape
    # Before the first and after the last span there may be nothing: a token more on each side, which is taken away.
    gaps = compositions(keys, length - int(lengths[0].sum()) + 2, spans + 1)
    gaps[:, [0, -1]] -= 1
    parts = np.zeros((rows, 2 * spans + 1), np.int64)
    parts[:, ::2], parts[:, 1::2] = gaps, lengths
    return np.repeat(np.tile(np.arange(2 * spans + 1), rows), parts.ravel()).reshape(rows, length)
