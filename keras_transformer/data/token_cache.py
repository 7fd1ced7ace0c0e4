"""Tokenized texts on disk, so that the same texts and the same tokenizer cost nothing the second time."""

import hashlib
import importlib.metadata
import logging
import os
import pathlib
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from keras_transformer.data.hashing import add_texts
from keras_transformer.data.rows import TokenRows

logger = logging.getLogger(__name__)

FOLDER = "KERAS_TRANSFORMER_CACHE"
"""Environment variable that names the folder of all that can be computed again."""

_FORMAT = 1
_SUFFIX = ".tokens.npz"
_TEMPORARY = ".tmp-"


def default_folder() -> pathlib.Path:
    """Returns the folder of tokenized texts: below $KERAS_TRANSFORMER_CACHE, else below the user's cache folder."""
    own = os.environ.get(FOLDER)
    if own:
        return pathlib.Path(own) / "tokens"
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "keras_transformer" / "tokens"


class TokenCache:
    """Keeps `TokenRows` in a folder, by a hash of the texts, of all files of the tokenizer and of how it cuts.

    A file is written under another name first and is checked when it is read; one that is damaged is made again.
    Processes may share the folder. A folder that cannot be written costs a warning, not the run.

    Args:
        folder: str or path; made when something is kept. Default: `default_folder()`.
        max_bytes: int, how large all files together may be; those not used for longest go first. Default 4 GiB.

    Raises:
        ValueError: if `max_bytes` is below 0.

    Example:
        ```python
        import tempfile
        from keras_transformer import data, text

        packer = text.TextPacker(text.WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good"]))
        with tempfile.TemporaryDirectory() as folder:
            cache = data.TokenCache(folder)
            rows = data.encode(packer, ["good good"], cache=cache)
            again = data.encode(packer, ["good good"], cache=cache)
            assert (cache.found, cache.made) == (1, 1) and (rows.values == again.values).all()
        ```
    """

    def __init__(self, folder: str | os.PathLike | None = None, max_bytes: int = 4 << 30) -> None:
        if max_bytes < 0:
            raise ValueError(f"`max_bytes` must be at least 0. Received: {max_bytes}.")
        self.folder = default_folder() if folder is None else pathlib.Path(folder)
        self.max_bytes = max_bytes
        self.found = 0
        self.made = 0

    def get(self, packer: Any, texts: Sequence[str], make: Callable[[], TokenRows]) -> TokenRows:
        """Return the rows of these texts, read if they are there, else made and kept.

        Args:
            packer: `keras_transformer.text.TextPacker`.
            texts: n strings.
            make: function without arguments that tokenizes.

        Returns:
            `TokenRows`.
        """
        path = self.folder / f"{_key(packer, texts)}{_SUFFIX}"
        rows = _read(path)
        if rows is not None:
            self.found += 1
            return rows
        rows = make()
        self.made += 1
        try:
            self._keep(path, rows)
        except OSError as error:
            logger.warning("the tokenized texts are not kept: %s", error)
        return rows

    def _keep(self, path: pathlib.Path, rows: TokenRows) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        small = not len(rows.values) or (rows.values.min() >= 0 and rows.values.max() < 1 << 16)
        handle, name = tempfile.mkstemp(prefix=_TEMPORARY, suffix=_SUFFIX, dir=self.folder)
        try:
            with os.fdopen(handle, "wb") as file:
                values = rows.values.astype(np.uint16) if small else rows.values
                np.savez(file, values=values, row_splits=rows.row_splits, example_ids=rows.example_ids)
            os.replace(name, path)
        except BaseException:
            pathlib.Path(name).unlink(missing_ok=True)
            raise
        self._prune()

    def _prune(self) -> None:
        """Remove what was not used for longest until the rest fits."""
        entries = []
        for path in self.folder.glob(f"*{_SUFFIX}"):
            try:
                entries.append((path.stat().st_mtime, path.stat().st_size, path))
            except FileNotFoundError:  # by another process
                continue
        size = sum(entry[1] for entry in entries)
        for _, own, path in sorted(entries):
            if size <= self.max_bytes:
                return
            path.unlink(missing_ok=True)
            size -= own


def _key(packer: Any, texts: Sequence[str]) -> str:
    """A hash of all that decides the rows."""
    digest = hashlib.sha256(f"{_FORMAT} {importlib.metadata.version('tensorflow-text')}".encode())
    with tempfile.TemporaryDirectory() as folder:
        # The files are what the packer can be loaded from: nothing else decides what it does.
        packer.save(folder)
        for path in sorted(path for path in pathlib.Path(folder).rglob("*") if path.is_file()):
            content = path.read_bytes()
            digest.update(f"{path.name} {len(content)} ".encode() + content)
    add_texts(digest, texts)
    return digest.hexdigest()[:40]


def _read(path: pathlib.Path) -> TokenRows | None:
    try:
        with np.load(path, allow_pickle=False) as file:
            rows = TokenRows(file["values"], file["row_splits"], file["example_ids"])
        os.utime(path)  # used now
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        logger.warning("tokenized texts are made again, as their file is damaged: %s", error)
        return None
    return rows
