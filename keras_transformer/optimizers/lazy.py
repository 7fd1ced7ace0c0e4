"""AdamW for the rows of a table that a batch has; the others get the updates that they missed when they are next read.

A row without a gradient still moves: by what is left of its momentum, and by weight decay. Of update `n` after row `s`
was last brought up to date, AdamW takes `rate(n) * beta_1^(n-s) * m / (beta_2^((n-s)/2) * sqrt(v) + epsilon(n))`. All
but `m` and `v` is one number for the whole row, but `epsilon` keeps the sum over `n` from having a closed form. So the
missed updates are summed up in groups, the first ones alone, later ever more at once, with the mean of a group in the
denominator, which hardly changes within one; what is left of the momentum after the last group is below rounding.
"""

import math
from typing import Any

import keras
from keras import ops


class LazyRows:
    """What is kept of a table whose rows are brought up to date when they are read.

    Args:
        optimizer: The optimizer, in the middle of its `build`.
        table: Variable of shape (rows, dim).
        multiplier: Factor of its learning rate.
        decayed: Whether it is decayed.
    """

    def __init__(self, optimizer: Any, table: Any, multiplier: float, decayed: bool):
        self.optimizer = optimizer
        self.table = table
        self.multiplier = multiplier
        self.decayed = decayed
        rows = (table.shape[0],)
        # Which update each row has come to, and the logarithm of what weight decay has left by then.
        self.updates = optimizer.add_variable(rows, dtype="int32", name="row_updates")
        self.row_decay = optimizer.add_variable(rows, dtype="float32", name="row_decay")
        self.decay = optimizer.add_variable((), dtype="float32", name="table_decay")
        last = math.ceil(17 / -math.log(optimizer.beta_1)) if optimizer.beta_1 else 0  # e ** -17 is 4e-8
        self._groups = []
        while not self._groups or self._groups[-1].stop < last:
            start = self._groups[-1].stop if self._groups else 0
            self._groups.append(slice(start, min(start + max(1, start // 2), max(last, 1))))

    def count(self) -> None:
        """Notes that an update has been made, with the number of updates before it still in `iterations`."""
        rate = ops.cast(self.optimizer.learning_rate, "float32")
        self.optimizer.assign_add(self.decay, self._log_decay(rate))

    def caught_up(self, rows: Any, mean: Any, square: Any, values: Any) -> tuple:
        """Returns moments and values of rows after the updates that they missed.

        Args:
            rows: Pair of `updates` and `row_decay` of these rows, of shape (n,).
            mean: Their first moments, float32 of shape (n, dim).
            square: Their second moments.
            values: The rows themselves.
        """
        optimizer, (updates, row_decay) = self.optimizer, rows
        now = ops.cast(optimizer.iterations, "int32")
        gap = ops.cast(now - updates, "float32")[:, None]
        left = ops.exp(self.decay - row_decay)[:, None]
        moved = 0.0
        if optimizer.beta_1:
            root = ops.sqrt(square)
            weights, factors, epsilons = self._missed(updates, now, row_decay)
            for group in self._groups:
                weight = weights[:, group]
                total = ops.sum(weight, 1, keepdims=True)
                share = weight / ops.maximum(total, 1e-37)
                factor = ops.sum(share * factors[group], 1, keepdims=True)
                epsilon = ops.sum(share * epsilons[:, group], 1, keepdims=True)
                # Where nothing was missed the weight is 0, and so must not be divided by 0.
                moved = moved + total / (root * factor + ops.where(total > 0, epsilon, 1.0))
        values = values * left - mean * moved
        return mean * optimizer.beta_1**gap, square * optimizer.beta_2**gap, values

    def _missed(self, updates: Any, now: Any, row_decay: Any) -> tuple:
        """Returns what each missed update of each row multiplies its moments by, and its epsilon.

        Returns:
            Weight of the mean, 0 after the last update, of shape (n, k); factor of the root of the square, (k,);
            epsilon, (n, k).
        """
        optimizer = self.optimizer
        ahead = ops.arange(1, self._groups[-1].stop + 1, dtype="int32")
        distance = ops.cast(ahead, "float32")
        number = updates[:, None] + ahead
        step = ops.cast(number, "float32")
        rate = self._rate(number - 1)
        # What decay leaves of an update by now: what it has left in all, without what it had left before.
        decay_then = row_decay[:, None] + ops.cumsum(self._log_decay(rate), 1)
        correction_1 = -ops.expm1(step * math.log(optimizer.beta_1))
        correction_2 = ops.sqrt(-ops.expm1(step * math.log(optimizer.beta_2))) if optimizer.beta_2 else 1.0 + 0 * step
        weight = rate * self.multiplier * correction_2 / correction_1
        weight = weight * optimizer.beta_1**distance * ops.exp(self.decay - decay_then)
        weight = ops.where(number <= now, weight, 0.0)
        return weight, optimizer.beta_2 ** (distance / 2), optimizer.epsilon * correction_2

    def _rate(self, step: Any) -> Any:
        """Returns the learning rate after so many updates."""
        rate = self.optimizer._learning_rate
        if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
            return ops.cast(rate(step), "float32")
        return ops.cast(rate, "float32") + 0 * ops.cast(step, "float32")

    def _log_decay(self, rate: Any) -> Any:
        """Returns the logarithm of what weight decay leaves of a value."""
        if not self.decayed:
            return 0 * rate
        return ops.log1p(-rate * self.multiplier * self.optimizer.weight_decay)
