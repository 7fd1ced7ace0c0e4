"""Hashes of texts."""

from collections.abc import Iterable
from typing import Any


def add_texts(digest: Any, texts: Iterable[str]) -> None:
    """Adds texts to a hash, in order.

    Args:
        digest: hash object of `hashlib`.
        texts: strings, or bytes.
    """
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        # The length first: otherwise ["ab", "c"] and ["a", "bc"] would look alike.
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
