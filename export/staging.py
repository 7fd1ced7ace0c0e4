"""Writes that either happen or leave nothing: a temporary folder beside the target, then a rename."""

import contextlib
import os
import pathlib
import shutil
import socket
import tempfile
from collections.abc import Iterator

_INCOMPLETE = ".incomplete-"
_REPLACED = ".replaced-"


@contextlib.contextmanager
def staging(out_dir: pathlib.Path) -> Iterator[pathlib.Path]:
    """Gives a temporary folder inside `out_dir` and removes it at the end, whatever happens.

    Left-overs of a killed process are cleared first. If `out_dir` had to be created and stays empty, it goes too.

    Args:
        out_dir: Folder in which the finished parts will stand.

    Raises:
        NotADirectoryError: If `out_dir` is a file.
    """
    if out_dir.exists() and not out_dir.is_dir():
        raise NotADirectoryError(f"The output must be a folder. Received: {out_dir} is a file")
    created = [folder for folder in (out_dir, *out_dir.parents) if not folder.exists()]
    out_dir.mkdir(parents=True, exist_ok=True)
    _clear_leftovers(out_dir)
    stage = pathlib.Path(tempfile.mkdtemp(prefix=f"{_INCOMPLETE}{socket.gethostname()}-{os.getpid()}-", dir=out_dir))
    # mkdtemp gives 0700; what is published must be readable by the server's user.
    stage.chmod(0o777 & ~_umask())
    try:
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        for folder in created:
            with contextlib.suppress(OSError):
                folder.rmdir()


def next_version(base: pathlib.Path) -> int:
    """Returns 1, or one more than the highest version folder in `base`."""
    names = [entry.name for entry in base.iterdir()] if base.is_dir() else []
    return 1 + max((int(name) for name in names if name.isdecimal()), default=0)


def publish_new(source: pathlib.Path, base: pathlib.Path, version: int | None) -> pathlib.Path:
    """Moves a finished folder to `base/version`; without a version to the next free one.

    Raises:
        FileExistsError: If that version exists.
    """
    base.mkdir(parents=True, exist_ok=True)
    while True:
        target = base / str(next_version(base) if version is None else version)
        try:
            # A rename onto a folder that is not empty fails, so nothing can be overwritten.
            os.rename(source, target)
            return target
        except OSError as error:
            if not target.exists():
                raise
            if version is not None:
                raise FileExistsError(f"{target} exists. Choose another version, or none for the next one.") from error


def publish_replacing(source: pathlib.Path, target: pathlib.Path) -> None:
    """Moves a finished folder to `target`; an old one is put aside first and removed afterwards."""
    aside = target.with_name(f"{_REPLACED}{target.name}")
    if target.exists():
        shutil.rmtree(aside, ignore_errors=True)
        os.rename(target, aside)
    os.rename(source, target)
    shutil.rmtree(aside, ignore_errors=True)


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a text file by way of a temporary one."""
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _clear_leftovers(out_dir: pathlib.Path) -> None:
    for entry in out_dir.glob(f"{_INCOMPLETE}*"):
        host, pid, _ = entry.name.removeprefix(_INCOMPLETE).rsplit("-", 2)
        if host == socket.gethostname() and not _alive(int(pid)):
            shutil.rmtree(entry, ignore_errors=True)
    for entry in out_dir.glob(f"{_REPLACED}*"):
        # Killed between the two renames: the old one is still the good one.
        target = out_dir / entry.name.removeprefix(_REPLACED)
        if target.exists():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            os.rename(entry, target)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _umask() -> int:
    value = os.umask(0)
    os.umask(value)
    return value
