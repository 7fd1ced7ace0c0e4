"""Gradients of several batches that make one update, under any `tf.distribute` strategy.

Keras decides inside the step whether to update, and TensorFlow cannot sum over replicas inside a condition. Here Python
counts the batches: one compiled function adds a gradient to the sum of its replica, another one updates. So replicas
and workers also tell each other their gradients only once an update.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_transformer import ops
from keras_transformer.optimizers.clipping import dense
from keras_transformer.training import sharing


class Accumulation:
    """The sum of the gradients since the last update, on each replica its own.

    Args:
        strategy: `tf.distribute.Strategy`.
        optimizer: Built `keras.optimizers.Optimizer`.
        variables: Keras variables that it trains.
        steps: Number of batches that make an update.
        compiled_elementwise: Whether XLA compiles the update of each variable. Default False.
    """

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        optimizer: keras.optimizers.Optimizer,
        variables: Sequence[Any],
        steps: int,
        compiled_elementwise: bool = False,
    ) -> None:
        self.strategy = strategy
        self.optimizer = optimizer
        self.variables = list(variables)
        self.steps = steps
        self.compiled_elementwise = compiled_elementwise
        self.pending = 0
        self._without: set[int] = set()
        with strategy.scope():
            self._sums = [
                tf.Variable(
                    tf.zeros(v.shape, v.dtype),
                    trainable=False,
                    synchronization=tf.VariableSynchronization.ON_READ,
                    aggregation=tf.VariableAggregation.SUM,
                )
                for v in self.variables
            ]
        self._update: Callable[[], None] | None = None

    def add(self, gradients: Sequence[Any]) -> None:
        """Adds gradients of this replica; to be called in a step, in the order of the variables."""
        for place, (total, gradient) in enumerate(zip(self._sums, gradients, strict=True)):
            if gradient is None:
                self._without.add(place)
            else:
                total.assign_add(tf.cast(dense(gradient), total.dtype))

    def train_function(self, step: Callable[[Any], dict], eagerly: bool, jit_compile: bool) -> Callable[[Any], dict]:
        """Returns the function of an iterator that takes a batch, and updates if enough are together.

        Args:
            step: Function of a replica's share that calls `add` and returns a dict of results.
            eagerly: Whether nothing is compiled.
            jit_compile: Whether XLA compiles the step.
        """
        if jit_compile and not eagerly:
            step = tf.function(step, reduce_retracing=True, jit_compile=True, autograph=False)
        add = sharing.step_function(self.strategy, step, eagerly)

        def update():
            self.strategy.run(self._apply)

        self._update = update if eagerly else tf.function(update, autograph=False)

        def run(iterator: Any) -> dict:
            results = add(iterator)
            self.pending += 1
            if self.pending == self.steps:
                self.finish()
            return results

        return run

    def finish(self) -> None:
        """Updates the weights by what has come since the last update, if anything has."""
        if self.pending:
            self._update()
            self.pending = 0

    def drop(self) -> None:
        """Forgets what has come since the last update: a fit that was broken off."""
        if self.pending:
            for total in self._sums:
                total.assign(tf.zeros_like(total))
            self.pending = 0

    def _apply(self) -> None:
        gradients = [None if i in self._without else tf.identity(total) for i, total in enumerate(self._sums)]
        with ops.compiled_elementwise(self.compiled_elementwise):
            self.optimizer.apply(gradients, self.variables)
        for total in self._sums:
            total.assign(tf.zeros(total.shape, total.dtype))


class LastUpdate(keras.callbacks.Callback):
    """Makes an update of the batches that are left at the end of an epoch, before it is validated."""

    def __init__(self, accumulation: Accumulation) -> None:
        super().__init__()
        self.accumulation = accumulation

    def on_train_begin(self, logs: dict | None = None) -> None:
        self.accumulation.drop()

    def on_test_begin(self, logs: dict | None = None) -> None:
        self.accumulation.finish()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.accumulation.finish()
