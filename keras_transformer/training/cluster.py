"""All processes of one training as one thing: who this is, and what they tell each other while they train."""

import contextlib
import functools
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

_CHUNK = 1 << 20  # values of int32 that travel at once


class Cluster:
    """The workers of a `tf.distribute` strategy; one process alone is a cluster of one.

    Every method must be called by all workers, in the same order.

    Args:
        strategy: `tf.distribute.Strategy`.

    Example:
        ```python
        import tensorflow as tf
        from keras_transformer.training.cluster import Cluster

        cluster = Cluster(tf.distribute.get_strategy())
        assert cluster.is_chief and cluster.size == 1
        assert cluster.from_chief(lambda: b"weights") == b"weights"
        ```
    """

    def __init__(self, strategy: tf.distribute.Strategy) -> None:
        self.strategy = strategy
        self.size, self.index = 1, 0
        if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
            resolver = strategy.cluster_resolver
            jobs = resolver.cluster_spec().as_dict()
            self.size = max(sum(len(jobs.get(job, ())) for job in ("chief", "worker")), 1)
            self.index = (resolver.task_id or 0) + (len(jobs.get("chief", ())) if resolver.task_type == "worker" else 0)

    @property
    def is_chief(self) -> bool:
        """Whether this process is the one that writes files."""
        return self.index == 0

    def any(self, flag: bool) -> bool:
        """Returns whether the flag of any worker is set."""
        return bool(flag) if self.size == 1 else self._sum_number(flag) > 0

    def from_chief(self, make: Callable[[], bytes]) -> bytes:
        """Returns what the chief makes; the others do not call `make`."""
        if self.size == 1:
            return make()
        data = make() if self.is_chief else b""
        size = self._sum_number(len(data))
        parts = []
        for start in range(0, size, 4 * _CHUNK):
            chunk = np.zeros(4 * _CHUNK, "uint8")
            piece = np.frombuffer(data[start : start + 4 * _CHUNK], "uint8")
            chunk[: len(piece)] = piece
            # Added to nothing but zeros, the bytes arrive as they are.
            parts.append(self._sum_chunk(chunk.view("int32")).numpy().tobytes())
        return b"".join(parts)[:size]

    def value_from_chief(self, make: Callable[[], Any]) -> Any:
        """Returns the JSON value that the chief makes."""
        return json.loads(self.from_chief(lambda: json.dumps(make()).encode()))

    def check_same(self, name: str, value: str) -> None:
        """Makes sure that all workers have the same value.

        Args:
            name: str, what it is.
            value: str.

        Raises:
            ValueError: If they differ, on every worker.
        """
        if self.size == 1:
            return
        theirs = self.value_from_chief(lambda: value)
        if self.any(theirs != value):
            raise ValueError(
                f"All workers must have the same {name}. "
                f"Received: {value} at worker {self.index}, {theirs} at the chief"
            )

    def barrier(self) -> None:
        """Waits until every worker is here."""
        self.any(False)

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Turns TensorFlow's error over a lost worker into one that says what to do.

        Raises:
            RuntimeError: If another worker ended or cannot be reached any more.
        """
        try:
            yield
        except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.DeadlineExceededError) as error:
            if self.size == 1:
                raise
            raise RuntimeError(
                f"Worker {self.index} lost another worker. Start all of them again: they go on from the last checkpoint"
            ) from error

    def _sum_number(self, value: int) -> int:
        return int(self._sum_flag(np.array([value], "int64"))[0])

    @functools.cached_property
    def _sum_flag(self) -> Callable:
        return self._total(tf.TensorSpec([1], tf.int64))

    @functools.cached_property
    def _sum_chunk(self) -> Callable:
        return self._total(tf.TensorSpec([_CHUNK], tf.int32))

    def _total(self, spec: tf.TensorSpec) -> Callable:
        """Returns a function that adds up an array of all workers."""
        strategy = self.strategy
        local = len(strategy.extended.worker_devices)

        def reduce(value):
            context = tf.distribute.get_replica_context()
            first = tf.equal(tf.cast(context.replica_id_in_sync_group, tf.int32) % local, 0)
            own = tf.where(first, value, tf.zeros_like(value))
            return context.all_reduce(tf.distribute.ReduceOp.SUM, own)

        return tf.function(
            lambda value: strategy.experimental_local_results(strategy.run(reduce, (value,)))[0],
            input_signature=[spec],
            autograph=False,
        )
