"""The progress line: loss, metric, examples per second, time left."""

import shutil
import sys
import time
from collections.abc import Mapping
from typing import TextIO

from keras_transformer.training.run_folder import format_seconds


class ProgressBar:
    """One line that is redrawn on a terminal; elsewhere a line every `interval` seconds.

    Args:
        total_steps: int, steps of the whole training.
        steps_per_epoch: int.
        interval: float, seconds between lines where the output is no terminal. Default 30.
        stream: text stream. Default `sys.stderr`.

    Example:

    ```python
    import io

    from keras_transformer.training.progress import ProgressBar

    stream = io.StringIO()
    bar = ProgressBar(total_steps=20, steps_per_epoch=10, interval=0, stream=stream)
    bar.update(step=12, examples=32, values={"loss": 0.5})
    assert "epoch 2/2" in stream.getvalue() and "loss 0.5000" in stream.getvalue()
    ```
    """

    def __init__(
        self, total_steps: int, steps_per_epoch: int, interval: float = 30.0, stream: TextIO | None = None
    ) -> None:
        self.total_steps = total_steps
        self.steps_per_epoch = steps_per_epoch
        self.interval = interval
        self.stream = stream or sys.stderr
        self.terminal = self.stream.isatty()
        self._last_line = time.monotonic()
        self._width = 0
        self._steps = 0
        self._examples = 0
        self._seconds = 0.0
        self._before: float | None = None
        self._started = False

    def resume(self) -> None:
        """Start the clock of the next step, leaving out what came before it: a validation, a checkpoint."""
        # The first step of a process traces and compiles: its pace says nothing.
        self._before = time.monotonic() if self._started else None

    def update(self, step: int, examples: int, values: Mapping[str, float]) -> None:
        """Report a finished step.

        Args:
            step: int, steps done in the whole training.
            examples: int, examples of this step.
            values: mapping from name to float, such as the loss and the metric.
        """
        now = time.monotonic()
        if self._before is not None:
            self._seconds += now - self._before
            self._steps += 1
            self._examples += examples
        self._before, self._started = now, True
        if self.terminal or now - self._last_line >= self.interval:
            self._last_line = now
            self._show(self.line(step, values))

    def line(self, step: int, values: Mapping[str, float]) -> str:
        """Return the text of the line."""
        in_epoch = (step - 1) % self.steps_per_epoch + 1
        filled = round(20 * in_epoch / self.steps_per_epoch)
        epoch, epochs = (step - 1) // self.steps_per_epoch + 1, -(-self.total_steps // self.steps_per_epoch)
        parts = [f"epoch {epoch}/{epochs} [{'=' * filled}{' ' * (20 - filled)}] {in_epoch}/{self.steps_per_epoch}"]
        parts += [f"{name} {value:.4f}" for name, value in values.items()]
        if self._steps >= 1 and self._seconds > 0:
            left = (self.total_steps - step) * self._seconds / self._steps
            parts += [f"{self._examples / self._seconds:.1f} examples/s", f"{format_seconds(left)} left"]
        return "  ".join(parts)

    def close(self) -> None:
        """End the line on a terminal, so that what follows starts on a new one."""
        if self.terminal and self._width:
            self.stream.write("\n")
            self.stream.flush()
            self._width = 0

    def _show(self, line: str) -> None:
        if self.terminal:
            line = line[: shutil.get_terminal_size().columns - 1]
            self.stream.write("\r" + line.ljust(self._width))
            self._width = len(line)
        else:
            self.stream.write(line + "\n")
        self.stream.flush()
