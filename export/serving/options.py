"""What can be chosen of the serving files."""

import dataclasses
import re

from ..precision import SAVED_MODEL


@dataclasses.dataclass(frozen=True)
class ServingOptions:
    """How a SavedModel is served.

    Args:
        model_name: str, the name in requests: letters, digits, `_`, `-` and `.`. Default "model".
        embedding: str, what the signature `embed` gives: "pooled" (default), the vector that the head reads, or "mean",
            the mean of the last hidden states over the tokens of the text.
        dtype: str, what the SavedModel stores and computes in: "float32" (default), or "bfloat16", half as large, and
            faster on processors with AVX512_BF16 or AMX; its answers are rounded to about two digits.
        batch_sizes: ints, increasing: the sizes that the server may make batches of, each of which is warmed up. The
            last is also the largest request. Default (1, 2, 4, 8, 16, 32).
        batch_timeout_micros: int, microseconds that a request waits for others. Default 2000.
        num_batch_threads: int, batches computed at a time, about the cores of the server. Default 4.
        max_enqueued_batches: int, batches that may wait before requests are refused. Default 100.

    Raises:
        ValueError: If a value cannot be used.

    Example:
        ```python
        from keras_transformer.export import ServingOptions

        assert ServingOptions(model_name="reviews").batch_sizes[-1] == 32
        ```
    """

    model_name: str = "model"
    embedding: str = "pooled"
    dtype: str = "float32"
    batch_sizes: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    batch_timeout_micros: int = 2000
    num_batch_threads: int = 4
    max_enqueued_batches: int = 100

    def __post_init__(self) -> None:
        object.__setattr__(self, "batch_sizes", tuple(self.batch_sizes))
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", self.model_name):
            raise ValueError(
                f"model_name may hold letters, digits, '_', '-' and '.'. Received: model_name={self.model_name!r}"
            )
        if self.embedding not in ("pooled", "mean"):
            raise ValueError(f"embedding must be 'pooled' or 'mean'. Received: embedding={self.embedding!r}")
        if self.dtype not in SAVED_MODEL:
            raise ValueError(f"dtype must be one of {', '.join(SAVED_MODEL)}. Received: dtype={self.dtype!r}")
        sizes = self.batch_sizes
        if not sizes or sizes[0] < 1 or list(sizes) != sorted(set(sizes)):
            raise ValueError(f"batch_sizes must be increasing integers above 0. Received: batch_sizes={sizes}")
        for name, least in (("batch_timeout_micros", 0), ("num_batch_threads", 1), ("max_enqueued_batches", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}. Received: {name}={getattr(self, name)}")
