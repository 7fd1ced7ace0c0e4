"""What a model that knows nothing but how often each token occurs would reach."""

import numpy as np

from keras_transformer.corpus import TokenStore

# Tokens that are counted at once: of a mapped store no more is in memory.
_BLOCK = 1 << 22


def unigram_entropy(store: TokenStore) -> float:
    """Return the cross-entropy of the tokens of a corpus under their own frequencies, in nats per token.

    The yardstick of every objective that predicts tokens: whoever has learned anything from what stands beside a token
    is below it.

    Args:
        store: `corpus.TokenStore`.

    Returns:
        float, at least 0.

    Raises:
        ValueError: if the corpus is empty.

    Example:
        ```python
        import math
        from keras_transformer.corpus import TokenStore
        from keras_transformer.objectives import unigram_entropy

        store = TokenStore.of([[[5, 5, 6, 7]]], vocabulary_size=10)
        assert abs(unigram_entropy(store) - 1.5 * math.log(2)) < 1e-12
        ```
    """
    if not store.num_tokens:
        raise ValueError("The corpus must have at least one token. Received: an empty one.")
    counts = np.zeros(0, np.int64)
    for start in range(0, store.num_tokens, _BLOCK):
        found = np.bincount(store.tokens[start : start + _BLOCK], minlength=len(counts))
        found[: len(counts)] += counts
        counts = found
    shares = counts[counts > 0] / store.num_tokens
    return float(-(shares * np.log(shares)).sum())
