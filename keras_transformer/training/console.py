"""What a person sees in the terminal: our own log lines, and nothing of TensorFlow's start."""

import contextlib
import logging
import sys
from collections.abc import Iterator
from pathlib import Path


def set_up_logging(level: int = logging.INFO) -> None:
    """Send the log of this package to standard error, one line a record, with the time.

    Args:
        level: int of `logging`. Default `logging.INFO`.
    """
    logger = logging.getLogger("keras_transformer")
    logger.setLevel(level)
    logger.propagate = False
    if not logger.handlers:
        handler = _Terminal()
        handler.setFormatter(_Formatter("[%(asctime)s] %(message)s", "%H:%M:%S"))
        logger.addHandler(handler)


@contextlib.contextmanager
def log_to_file(path: Path) -> Iterator[None]:
    """Append the log of this package to a file as well.

    Args:
        path: `pathlib.Path`; its folder is made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(_Formatter("[%(asctime)s] %(message)s", "%Y-%m-%d %H:%M:%S"))
    logger = logging.getLogger("keras_transformer")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()


class _Terminal(logging.StreamHandler):
    """Writes to what standard error is at the moment of a record, as a caller may have redirected it."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


class _Formatter(logging.Formatter):
    """Names the level only where it is a warning or worse."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if record.levelno >= logging.WARNING:
            return text.replace("] ", f"] {record.levelname.lower()}: ", 1)
        return text
