"""Files that are whole or not there: written under a temporary name, forced to disk, then renamed."""

import contextlib
import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

TEMPORARY = ".tmp-"
_FULL = "No space left on the disk"


def write_atomically(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Write a file so that a reader finds the old one or the whole new one, never a part.

    Args:
        path: `pathlib.Path` of the file.
        write: function that writes the content to an open binary file.

    Raises:
        OSError: If it cannot be written (a full disk is named as such); nothing is left behind.
    """
    temporary = path.with_name(f"{TEMPORARY}{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise explain_os_error(error, path) from error


def write_json(path: Path, values: Any) -> None:
    """Write JSON atomically; see `write_atomically`."""
    text = json.dumps(values, indent=2, allow_nan=False) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        ValueError: If the file is damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is damaged and cannot be read as JSON ({error}). Restore or remove it.") from error


def explain_os_error(error: OSError, path: Path) -> OSError:
    """Return the error of a full disk with a message that says what to do; any other error as it is."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT) and not str(error.strerror).startswith(_FULL):
        return OSError(
            error.errno,
            f"{_FULL} while writing {path}; nothing half written was kept. "
            "Free some space and give the same command again: it goes on from the last checkpoint",
        )
    return error


def _sync_folder(folder: Path) -> None:
    # The rename itself reaches the disk only with its folder.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
