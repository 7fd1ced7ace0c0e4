"""How a person stops a training: a signal waits for the next checkpoint."""

import logging
import signal
import threading
from typing import Any

logger = logging.getLogger(__name__)


class StopSignal:
    """Lets SIGINT and SIGTERM wait for the end of a step and its checkpoint; a second one does not wait."""

    def __init__(self) -> None:
        self.asked = False
        self._old: dict[int, Any] = {}

    def __enter__(self) -> "StopSignal":
        if threading.current_thread() is threading.main_thread():
            self._old = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: Any) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        logger.info("stopping after this step (%s); a second one stops at once", signal.Signals(number).name)
