"""When the loss of a pretraining runs away: which loss is out of line, and which batches are left out then."""

import dataclasses
import math
import statistics
from collections.abc import Sequence

_HISTORY = 50  # losses that the newest one is compared with
_LEAST = 20  # of them, before anything but a loss that is not finite is out of line
_SKIPPED = 5  # batches that are left out: the one with the loss, and those whose updates led to it


@dataclasses.dataclass(frozen=True)
class SpikeGuard:
    """Finds losses that ran away, as large models' do now and then (PaLM, arXiv 2204.02311, section 5.1).

    A loss is out of line if it is not finite, or lies more than `factor` robust standard deviations (1.4826 times the
    median distance from the median) above the median of the last 50 losses. The training then goes back to its last
    checkpoint, leaves out the batches that led there, and learns at `lower` times the rate from there on.

    Args:
        factor: float above 0. Default 10.
        lower: float in (0, 1], what the learning rate is multiplied by. Default 0.7.
        limit: int, how often a training goes back before it gives up. Default 10.

    Raises:
        ValueError: For an argument out of its range.

    Example:
        ```python
        from keras_transformer.training.spikes import SpikeGuard

        guard = SpikeGuard()
        losses = [5 - 0.01 * i + 0.05 * (i % 3) for i in range(60)]
        assert guard.is_spike(losses, float("nan"))
        assert guard.is_spike(losses, 9.0)
        assert not guard.is_spike(losses, 4.5)
        assert guard.skipped(step=60, checkpoint=58) == (58, 60)
        ```
    """

    factor: float = 10.0
    lower: float = 0.7
    limit: int = 10

    def __post_init__(self) -> None:
        if not self.factor > 0:
            raise ValueError(f"factor must be above 0. Received: {self.factor!r}")
        if not 0 < self.lower <= 1:
            raise ValueError(f"lower must be in (0, 1]. Received: {self.lower!r}")
        if self.limit < 1:
            raise ValueError(f"limit must be at least 1. Received: {self.limit!r}")

    def is_spike(self, before: Sequence[float], loss: float) -> bool:
        """Returns whether a loss is out of line.

        Args:
            before: The losses of the steps before it, the oldest first.
            loss: The newest loss.
        """
        if not math.isfinite(loss):
            return True
        recent = before[-_HISTORY:]
        if len(recent) < _LEAST:
            return False
        middle = statistics.median(recent)
        spread = 1.4826 * statistics.median(abs(value - middle) for value in recent)
        # Losses that hardly differ have next to no spread: a hundredth of them is no spike.
        return loss > middle + self.factor * max(spread, 0.01 * abs(middle))

    def skipped(self, step: int, checkpoint: int) -> tuple[int, int]:
        """Returns the first batch that is left out, counted from 0, and the one after the last.

        Args:
            step: Number of batches done, the one with the spike included.
            checkpoint: Number of batches done at the checkpoint that the training goes back to.
        """
        return max(checkpoint, step - _SKIPPED), step
