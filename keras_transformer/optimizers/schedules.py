"""Learning-rate schedules."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("keras_transformer")
class LinearWarmupDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly to a peak, then falls linearly (the schedule of BERT, arXiv 1810.04805, appendix A.2).

    Update number `s`, counted from 0, uses `peak * (s + 1) / (warmup_steps + 1)` while it rises, so no update is
    wasted on a rate of 0; update `warmup_steps` uses the peak; from `total_steps` on the rate stays at
    `peak * final_fraction`.

    Args:
        peak_learning_rate: Float above 0.
        total_steps: Number of updates of the whole training, warm-up included.
        warmup_steps: Number of updates before the peak, below `total_steps`. Default 0.
        final_fraction: Share of the peak that is left at the end, in [0, 1]. Default 0.

    Call arguments:
        step: Number of updates done so far, an integer or a scalar integer tensor.

    Returns:
        Scalar float32 tensor.

    Raises:
        ValueError: For an argument out of its range.

    Example:
        ```python
        from keras_transformer.optimizers import LinearWarmupDecay

        schedule = LinearWarmupDecay(1e-3, total_steps=100, warmup_steps=9)
        assert abs(float(schedule(0)) - 1e-4) < 1e-9
        assert abs(float(schedule(9)) - 1e-3) < 1e-9
        assert float(schedule(100)) == 0.0
        ```
    """

    def __init__(self, peak_learning_rate: float, total_steps: int, warmup_steps: int = 0, final_fraction: float = 0.0):
        if not 0 < peak_learning_rate < float("inf"):
            raise ValueError(f"peak_learning_rate must be a number above 0. Received: {peak_learning_rate!r}")
        if total_steps < 1 or int(total_steps) != total_steps:
            raise ValueError(f"total_steps must be an integer of at least 1. Received: {total_steps!r}")
        if not 0 <= warmup_steps < total_steps or int(warmup_steps) != warmup_steps:
            raise ValueError(
                "warmup_steps must be an integer of at least 0 and below total_steps. "
                f"Received: warmup_steps={warmup_steps!r}, total_steps={total_steps}"
            )
        if not 0 <= final_fraction <= 1:
            raise ValueError(f"final_fraction must be in [0, 1]. Received: {final_fraction!r}")
        self.peak_learning_rate = float(peak_learning_rate)
        self.total_steps = int(total_steps)
        self.warmup_steps = int(warmup_steps)
        self.final_fraction = float(final_fraction)

    def __call__(self, step):
        """Returns the learning rate of the update that follows `step` updates."""
        step = ops.cast(step, "float32")
        rising = (step + 1.0) / (self.warmup_steps + 1.0)
        done = ops.clip((step - self.warmup_steps) / (self.total_steps - self.warmup_steps), 0.0, 1.0)
        falling = 1.0 - (1.0 - self.final_fraction) * done
        return self.peak_learning_rate * ops.where(step < self.warmup_steps, rising, falling)

    def get_config(self) -> dict:
        """Returns the constructor arguments."""
        return {
            "peak_learning_rate": self.peak_learning_rate,
            "total_steps": self.total_steps,
            "warmup_steps": self.warmup_steps,
            "final_fraction": self.final_fraction,
        }
