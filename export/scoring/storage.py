"""Files on a disk, or by Beam's filesystems where a path has a scheme: `gs://`, `hdfs://`, `s3://`."""

import glob
import hashlib
import io
import os
import pathlib
import uuid
from typing import BinaryIO

from keras_transformer import _files

TEMPORARY = "temporary"
_PIECE = 1 << 20


def is_remote(path: str) -> bool:
    """Returns whether a path is one for Beam's filesystems."""
    return "://" in path


def join(folder: str, *names: str) -> str:
    """Returns the path of a file in a folder."""
    return "/".join([folder.rstrip("/") or "/", *names]) if is_remote(folder) else os.path.join(folder, *names)


def find(pattern: str) -> list[str]:
    """Returns the files that match a pattern, sorted.

    Args:
        pattern: str, with `*`, `?`, `[...]`; `**` for folders within folders.
    """
    if is_remote(pattern):
        return sorted(entry.path for entry in _match(pattern))
    found = [pattern] if os.path.isfile(pattern) else glob.glob(pattern, recursive=True)
    return sorted(path for path in found if os.path.isfile(path))


def open_file(path: str) -> BinaryIO:
    """Opens a file for reading at any place."""
    if not is_remote(path):
        return open(path, "rb")
    from apache_beam.io.filesystem import CompressionTypes

    return io.BufferedReader(_filesystems().open(path, compression_type=CompressionTypes.UNCOMPRESSED), _PIECE)


def read(path: str) -> bytes:
    """Returns what a file holds."""
    with open_file(path) as file:
        return file.read()


def names_in(folder: str) -> set[str]:
    """Returns the names of the finished files in a folder; nothing if there is no folder."""
    if is_remote(folder):
        return {entry.path.rsplit("/", 1)[1] for entry in _match(join(folder, "*"))}
    if not os.path.isdir(folder):
        return set()
    return {name for name in os.listdir(folder) if not name.startswith(".")}


def make_folder(folder: str) -> None:
    """Makes a folder where there are folders."""
    if not is_remote(folder):
        os.makedirs(folder, exist_ok=True)


def write(folder: str, name: str, content: bytes, root: str) -> None:
    """Writes a file that appears whole or not at all, in place of one of that name.

    Args:
        folder: str.
        name: str, of the file.
        content: bytes.
        root: str, folder of the run, whose folder `temporary` is used where a file has no temporary name beside it.
    """
    if not is_remote(folder):
        _files.write_bytes(join(folder, name), content)
        return
    temporary = join(root, TEMPORARY, f"{name}.{uuid.uuid4().hex}")
    with _filesystems().create(temporary, mime_type="application/octet-stream") as file:
        file.write(content)
    target = join(folder, name)
    if _filesystems().exists(target):
        # Some filesystems rename onto no file that exists. What a run writes is the same each time.
        _filesystems().delete([target])
    _filesystems().rename([temporary], [target])


def remove_leftovers(root: str) -> None:
    """Removes the temporary files of runs that were killed."""
    if is_remote(root):
        leftovers = [entry.path for entry in _match(join(root, TEMPORARY, "*"))]
        if leftovers:
            _filesystems().delete(leftovers)
        return
    for pattern in (".*.json.*", "*/.part-*.jsonl.*"):
        for path in pathlib.Path(root).glob(pattern):
            path.unlink(missing_ok=True)


def fingerprint(folder: str) -> str:
    """Returns the SHA-256 of all files of a folder, names and contents."""
    total = hashlib.sha256()
    if is_remote(folder):
        paths = [entry.path for entry in _match(join(folder, "**"))]
        names = {path[len(folder.rstrip("/")) + 1 :]: path for path in paths}
    else:
        paths = [path for path in pathlib.Path(folder).rglob("*") if path.is_file()]
        names = {path.relative_to(folder).as_posix(): str(path) for path in paths}
    for name in sorted(names):
        with open_file(names[name]) as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{content} {name}\n".encode())
    return total.hexdigest()


def _match(pattern: str) -> list:
    return _filesystems().match([pattern])[0].metadata_list


def _filesystems():
    try:
        from apache_beam.io.filesystems import FileSystems
    except ImportError as error:
        raise ImportError(
            f"Paths with :// need Apache Beam: docs/scoring.md has its environment. Received: {error}"
        ) from None
    return FileSystems
