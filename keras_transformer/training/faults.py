"""Named points at which a process can be told to die, so that tests can prove that a killed run goes on."""

import os
import signal
import threading
import time
from pathlib import Path

VARIABLE = "KERAS_TRANSFORMER_KILL_AT"


def reach(point: str) -> None:
    """End this process with SIGKILL if the environment variable `KERAS_TRANSFORMER_KILL_AT` names this point.

    Args:
        point: str, such as `"step:3"`, `"checkpoint:4"` (half of the file is written) or `"evaluate"`.
    """
    if os.environ.get(VARIABLE) == point:
        os.kill(os.getpid(), signal.SIGKILL)


def reach_when_written(point: str, folder: Path) -> None:
    """Like `reach`, but die once something has been written below `folder`, while more is being written."""
    if os.environ.get(VARIABLE) != point:
        return

    def watch() -> None:
        while not any(path.is_file() for path in folder.rglob("*")):
            time.sleep(0.005)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
