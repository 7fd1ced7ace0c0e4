"""The progress line of long work: how far it is, loss, metric, examples per second, time left."""

import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TextIO

from keras_transformer.training.run_folder import format_seconds


class StatusLine:
    """One line that is redrawn on a terminal; elsewhere a line every `interval` seconds.

    Args:
        interval: float, seconds between lines where the output is no terminal. Default 30.
        stream: text stream. Default `sys.stderr`.
    """

    def __init__(self, interval: float = 30.0, stream: TextIO | None = None) -> None:
        self.interval = interval
        self.stream = stream or sys.stderr
        self.terminal = self.stream.isatty()
        self._last = time.monotonic()
        self._width = 0

    def due(self) -> bool:
        """Return whether it is time for another line."""
        return self.terminal or time.monotonic() - self._last >= self.interval

    def show(self, line: str) -> None:
        """Write the line, over the one before on a terminal."""
        self._last = time.monotonic()
        if self.terminal:
            line = line[: shutil.get_terminal_size().columns - 1]
            self.stream.write("\r" + line.ljust(self._width))
            self._width = len(line)
        else:
            self.stream.write(line + "\n")
        self.stream.flush()

    def close(self) -> None:
        """End the line on a terminal, so that what follows starts on a new one."""
        if self.terminal and self._width:
            self.stream.write("\n")
            self.stream.flush()
            self._width = 0


class CountBar:
    """How much of a piece of work is done, where only its parts can be counted.

    Args:
        name: str, what is counted, such as "points".
        interval: float, seconds between lines where the output is no terminal. Default 30.
        stream: text stream. Default `sys.stderr`.

    Example:

    ```python
    import io

    from keras_transformer.training.progress import CountBar

    stream = io.StringIO()
    with CountBar("texts", interval=0, stream=stream) as report:
        report(5, 20)
    assert stream.getvalue().startswith("[=====               ] 5/20 texts")
    ```
    """

    def __init__(self, name: str, interval: float = 30.0, stream: TextIO | None = None) -> None:
        self.name = name
        self._line = StatusLine(interval, stream)
        self._start = time.monotonic()

    def __enter__(self) -> "CountBar":
        return self

    def __exit__(self, *_: object) -> None:
        self._line.close()

    def __call__(self, done: int, total: int) -> None:
        """Report that `done` of `total` parts are finished; the total may grow."""
        if self._line.due():
            left = (total - done) * (time.monotonic() - self._start) / done
            self._line.show(f"{_bar(done, total)} {self.name}  {format_seconds(left)} left")


class ProgressBar:
    """The progress of a training, as a `StatusLine`.

    Args:
        total_steps: int, steps of the whole training.
        steps_per_epoch: int.
        interval: float, seconds between lines where the output is no terminal. Default 30.
        stream: text stream. Default `sys.stderr`.
        work: cost of the first 0, 1, 2 .. `total_steps` steps in any unit, by which the time left is reckoned. Default
            None: all steps cost the same.

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
        self,
        total_steps: int,
        steps_per_epoch: int,
        interval: float = 30.0,
        stream: TextIO | None = None,
        work: Sequence[float] | None = None,
    ) -> None:
        self.total_steps = total_steps
        self.steps_per_epoch = steps_per_epoch
        self._line = StatusLine(interval, stream)
        self._work = range(total_steps + 1) if work is None else work
        self._done = 0.0
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
            self._done += float(self._work[step] - self._work[step - 1])
            self._examples += examples
        self._before, self._started = now, True
        if self._line.due():
            self._line.show(self.line(step, values))

    def line(self, step: int, values: Mapping[str, float]) -> str:
        """Return the text of the line."""
        in_epoch = (step - 1) % self.steps_per_epoch + 1
        epoch, epochs = (step - 1) // self.steps_per_epoch + 1, -(-self.total_steps // self.steps_per_epoch)
        parts = [f"epoch {epoch}/{epochs} {_bar(in_epoch, self.steps_per_epoch)}"]
        parts += [f"{name} {value:.4f}" for name, value in values.items()]
        if self._done > 0 and self._seconds > 0:
            left = float(self._work[self.total_steps] - self._work[step]) * self._seconds / self._done
            parts += [f"{self._examples / self._seconds:.1f} examples/s", f"{format_seconds(left)} left"]
        return "  ".join(parts)

    def close(self) -> None:
        """End the line on a terminal, so that what follows starts on a new one."""
        self._line.close()


def _bar(done: int, total: int) -> str:
    filled = round(20 * done / total)
    return f"[{'=' * filled}{' ' * (20 - filled)}] {done}/{total}"
