"""Tells the terminal how far a run is, by looking at the files that are written: it works for every runner."""

import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import TextIO

from . import storage
from .counting import finished_blocks
from .work import Source


class Progress:
    """A thread that writes a line now and then while the block runs.

    Args:
        output: str, folder of the run.
        sources: sequence of `Source`.
        seconds: float, between two looks. Default None: 1 for a folder of this machine at a
            terminal, where one line is rewritten, else 10.
        stream: Text file. Default None, the error output.
        clock: Function that gives seconds.
    """

    def __init__(
        self,
        output: str,
        sources: Sequence[Source],
        seconds: float | None = None,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._output, self._sources = output, sources
        self._stream = stream or sys.stderr
        self._seconds = seconds or (1.0 if self._stream.isatty() and not storage.is_remote(output) else 10.0)
        self._clock = clock
        self._records = {block.number: block.records for source in sources for block in source.blocks}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Progress":
        self._started, self._before = self._clock(), self._done()
        self._thread.start()
        return self

    def __exit__(self, *error) -> None:
        self._stop.set()
        self._thread.join()
        if self._stream.isatty():
            self._stream.write("\n")

    def line(self) -> str:
        """Returns how far the run is."""
        done, total = self._done(), sum(self._records.values())
        seconds = self._clock() - self._started
        text = f"{done:,} of {total:,} lines ({done / max(total, 1):.0%})"
        speed = (done - self._before) / seconds if seconds > 0 else 0.0
        if speed > 0:
            left = (total - done) / speed
            text += f", {speed:,.1f} lines/s, {_duration(left)} left"
        return text

    def _done(self) -> int:
        return sum(self._records[number] for number in finished_blocks(self._output, self._sources))

    def _watch(self) -> None:
        while not self._stop.wait(self._seconds):
            try:
                text = self.line()
            except OSError:  # a listing that failed once is no reason to stop
                continue
            self._stream.write(f"\r{text:<78}" if self._stream.isatty() else f"{text}\n")
            self._stream.flush()


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
