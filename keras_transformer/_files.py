"""Files and folders that appear whole or not at all."""

import contextlib
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
from typing import BinaryIO


@contextlib.contextmanager
def new_file(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Yields a temporary binary file that is flushed and takes the name `path` if the block ends without an error.

    Args:
        path: The file; its folder must exist.

    Yields:
        The temporary file, beside `path`, removed after an error.
    """
    path = pathlib.Path(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        pathlib.Path(temporary).unlink(missing_ok=True)
        raise


def write_bytes(path: str | os.PathLike, content: bytes) -> None:
    """Writes a file under a temporary name, flushes it to the disk, and renames it.

    Args:
        path: The file; its folder must exist.
        content: What it shall hold.
    """
    with new_file(path) as file:
        file.write(content)


def write_text(path: str | os.PathLike, content: str) -> None:
    """Writes a UTF-8 text file as `write_bytes` does."""
    write_bytes(path, content.encode("utf-8"))


@contextlib.contextmanager
def new_folder(path: str | os.PathLike, replace: bool = True) -> Iterator[pathlib.Path]:
    """Yields a temporary folder that takes the name `path` if the block ends without an error.

    Args:
        path: The folder; its parents are created.
        replace: Whether a folder of that name is replaced. Default True.

    Yields:
        The temporary folder, beside `path`, removed after an error.

    Raises:
        FileExistsError: If the folder exists and `replace` is False.
    """
    path = pathlib.Path(path)
    if path.exists() and not replace:
        raise FileExistsError(f"{path} exists already. Choose another folder or remove it.")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = pathlib.Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield temporary
        os.chmod(temporary, 0o755)
        if path.exists():
            old = pathlib.Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
            os.replace(path, old / path.name)
            os.replace(temporary, path)
            shutil.rmtree(old)
        else:
            os.replace(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
