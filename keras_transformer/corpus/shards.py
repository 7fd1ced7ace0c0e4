"""The work of a preparation on disk: parts that are kept when it is killed, and the store they become."""

import contextlib
import fcntl
import json
import logging
import os
import pathlib
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from typing import IO, Any

import numpy as np

from keras_transformer._files import new_file, write_text
from keras_transformer.corpus.store import splits_of, token_dtype, write_store

logger = logging.getLogger(__name__)

SIDES = ("train", "held_out")
"""The stores that a preparation makes."""
_PARTS = ("tokens", "sentences", "documents")
_KEY, _LOCK, _STATE = "key", "lock", "state"
_STORE, _REPLACED = "store", "replaced"


class Shards:
    """Finished parts of a preparation in a folder, each a file that appears by one rename.

    A part holds the tokens, the lengths of sentences and the sentences of documents of both sides (`train_tokens`,
    `held_out_sentences`, ...), whatever else is to be kept with them, and the state with which the work goes on.

    Args:
        folder: path of the folder; must be there.
        key: str that changes with all that decides the result; parts of another key are removed.
        vocabulary_size: int, which decides the type of the tokens.
    """

    def __init__(self, folder: pathlib.Path, key: str, vocabulary_size: int) -> None:
        self.folder = folder
        self.dtype = token_dtype(vocabulary_size)
        file = folder / _KEY
        known = file.is_file() and file.read_text(encoding="utf-8") == key
        # Hidden files are those that a killed process was writing.
        for path in folder.glob(".*" if known else "*"):
            if path.name != _LOCK:
                _remove(path)
        write_text(file, key)
        self._states: list[dict[str, Any]] = []
        while (state := self._read_state(len(self))) is not None:
            self._states.append(state)
        for path in folder.glob("*.npz"):
            if int(path.stem) >= len(self):
                path.unlink()  # one that is damaged, or comes after it

    def __len__(self) -> int:
        """Return the number of finished parts."""
        return len(self._states)

    @property
    def state(self) -> dict[str, Any] | None:
        """The state after the last finished part; None if there is none."""
        return self._states[-1] if self._states else None

    def add(self, arrays: Mapping[str, np.ndarray], state: Mapping[str, Any]) -> None:
        """Finish a part.

        Args:
            arrays: the arrays by name.
            state: dict as JSON has it.
        """
        encoded = np.frombuffer(json.dumps(dict(state)).encode(), np.uint8)
        with new_file(self._path(len(self))) as file:
            np.savez(file, **{_STATE: encoded}, **arrays)
        self._states.append(dict(state))

    def arrays(self, name: str) -> Iterator[np.ndarray]:
        """Yield an array of each part, one at a time."""
        for number in range(len(self)):
            with np.load(self._path(number), allow_pickle=False) as file:
                yield file[name]

    def clear(self) -> None:
        """Remove all parts."""
        for number in range(len(self)):
            self._path(number).unlink()
        self._states.clear()

    def new_folder(self) -> pathlib.Path:
        """Return an empty folder for the store."""
        folder = self.folder / _STORE
        _remove(folder)
        folder.mkdir()
        return folder

    def write(self, side: str, folder: pathlib.Path, about: Mapping[str, Any]) -> None:
        """Write the store of a side.

        Args:
            side: str, one of `SIDES`.
            folder: path of the folder; must be there.
            about: dict, what the store tells about itself.
        """
        tokens, sentences, documents = (sum(map(len, self.arrays(f"{side}_{part}"))) for part in _PARTS)
        parts = {
            "tokens": (self.dtype, tokens, self.arrays(f"{side}_tokens")),
            "sentences": (np.dtype(np.int64), sentences + 1, _splits(self.arrays(f"{side}_sentences"))),
            "documents": (np.dtype(np.int64), documents + 1, _splits(self.arrays(f"{side}_documents"))),
        }
        write_store(folder, parts, about)

    def move(self, folder: pathlib.Path, path: pathlib.Path) -> None:
        """Move the store to where it belongs, in the place of what may be there.

        Args:
            folder: path that `new_folder` returned.
            path: path of the result.
        """
        if path.exists():
            _remove(self.folder / _REPLACED)
            os.replace(path, self.folder / _REPLACED)
        os.replace(folder, path)

    def _path(self, number: int) -> pathlib.Path:
        return self.folder / f"{number:06d}.npz"

    def _read_state(self, number: int) -> dict[str, Any] | None:
        path = self._path(number)
        if not path.is_file():
            return None
        try:
            with np.load(path, allow_pickle=False) as file:
                return json.loads(file[_STATE].tobytes())
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            logger.warning("a part of the preparation is damaged, it and what follows is made again: %s", error)
            return None


@contextlib.contextmanager
def work_folder(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Make the folder of a preparation, beside that of its result, for this process alone.

    Another process that prepares the same waits: it finds the result, or goes on where this one was killed.

    Args:
        path: path of the result.

    Yields:
        The folder. It is removed at the end; after an error it stays if there are finished parts in it.
    """
    folder = path.with_name(f".{path.name}.preparing")
    with _locked(folder):
        try:
            yield folder
        except BaseException:
            if not any(folder.glob("*.npz")):
                shutil.rmtree(folder)
            raise
        shutil.rmtree(folder)


def _locked(folder: pathlib.Path) -> IO[str]:
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            file = (folder / _LOCK).open("w")
        except FileNotFoundError:
            continue  # the one before has just finished
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("another process prepares %s: waiting for it", folder)
            fcntl.flock(file, fcntl.LOCK_EX)
        # The one before may have removed the folder with its lock: then this lock is on nothing.
        with contextlib.suppress(FileNotFoundError):
            if os.fstat(file.fileno()).st_ino == (folder / _LOCK).stat().st_ino:
                return file
        file.close()


def _remove(path: pathlib.Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _splits(lengths: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """The splits of lengths that come in parts."""
    end = 0
    yield np.zeros(1, np.int64)
    for part in lengths:
        splits = splits_of(part, before=end)
        end = int(splits[-1])
        yield splits[1:]
