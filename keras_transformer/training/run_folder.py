"""The run folder: what stands where, which recipe it holds, and the record of where and when it ran."""

import contextlib
import datetime
import fcntl
import importlib.metadata
import logging
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_transformer.training.checkpoints import CheckpointStore
from keras_transformer.training.files import explain_os_error, read_json, write_atomically, write_json
from keras_transformer.training.recipe import Recipe

logger = logging.getLogger(__name__)

_LOCK = ".lock"
_OWN = {
    "recipe.json",
    "run.json",
    "pretraining",
    "pretrained",
    "checkpoints",
    "model",
    "metrics.json",
    "report.json",
    "report.html",
    "logs",
    "export",
    _LOCK,
}


class RunFolder:
    """One training run on disk.

    Args:
        path: `pathlib.Path` or str of the folder; it may not exist yet.

    Example:

    ```python
    import tempfile

    from keras_transformer.training import Recipe, RunFolder

    folder = RunFolder(tempfile.mkdtemp())
    with folder.open(Recipe()):
        folder.record(strategy="one_device")
    assert folder.recipe() == Recipe()
    ```
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.checkpoints = CheckpointStore(self.path / "checkpoints")
        self.pretraining = self.path / "pretraining"
        self.pretrained = self.path / "pretrained"
        self.model = self.path / "model"
        self.metrics = self.path / "metrics.json"
        self.scores = self.path / "report.json"
        self.report = self.path / "report.html"
        self.logs = self.path / "logs"
        self.export = self.path / "export"

    def recipe(self) -> Recipe:
        """Return the recipe of the run.

        Raises:
            FileNotFoundError: If the folder holds no run.
            ValueError: If recipe.json is damaged.
        """
        path = self.path / "recipe.json"
        if not path.is_file():
            raise FileNotFoundError(
                f"{self.path} holds no run: there is no recipe.json in it. Give the folder of a run with --run_dir."
            )
        return Recipe.from_file(path)

    @contextlib.contextmanager
    def open(self, recipe: Recipe, overwrite: bool = False) -> Iterator["RunFolder"]:
        """Make the folder for a recipe, or go on in it; it is locked against a second process meanwhile.

        Args:
            recipe: `Recipe` to be run in it.
            overwrite: bool, remove what an earlier run left. Default False.

        Raises:
            ValueError: If the folder holds another recipe, or things that are not a run's.
            OSError: If it cannot be written, or another process is at work in it.
        """
        if self.path.exists() and not self.path.is_dir():
            raise NotADirectoryError(f"The run folder is a file. Received: {self.path}")
        names = set(os.listdir(self.path)) if self.path.is_dir() else set()
        foreign = sorted(name for name in names if name not in _OWN and not name.startswith(".tmp-"))
        if foreign and "recipe.json" not in names:
            raise ValueError(
                f"{self.path} is not empty and holds no run; give another --run_dir. Received: {', '.join(foreign[:5])}"
            )
        if "recipe.json" in names and not overwrite:
            self._check_same(recipe)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with self._locked():
                if overwrite:
                    self.clear()
                if not (self.path / "recipe.json").exists():
                    write_atomically(self.path / "recipe.json", lambda file: file.write(recipe.to_json().encode()))
                yield self
        except OSError as error:
            raise explain_os_error(error, self.path) from error

    def _check_same(self, recipe: Recipe) -> None:
        theirs = self.recipe()
        if theirs.identity() == recipe.identity():
            return
        fields = [f"{key} is {old!r} there and {new!r} here" for key, (old, new) in theirs.differences(recipe).items()]
        raise ValueError(
            f"{self.path} holds a run of another recipe: {'; '.join(fields)}. "
            "Give another folder with --run_dir, or --overwrite to throw that run away."
        )

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        # The kernel lets go of the lock when the process dies, however it dies.
        with (self.path / _LOCK).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RuntimeError(f"Another process is at work in {self.path}. Wait for it or end it.") from error
            yield

    def clear(self) -> None:
        """Remove what a run leaves behind; other files stay."""
        for name in _OWN - {_LOCK}:
            path = self.path / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def run(self) -> dict[str, Any]:
        """Return the content of run.json; empty before the first `record`."""
        path = self.path / "run.json"
        return read_json(path) if path.is_file() else {}

    def record(self, **values: Any) -> None:
        """Set keys of run.json."""
        write_json(self.path / "run.json", self.run() | values)

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a phase; run.json then names it and its seconds (summed over resumed processes)."""
        start = time.monotonic()
        yield
        seconds = time.monotonic() - start
        timings = self.run().get("seconds", {})
        self.record(seconds=timings | {name: round(timings.get(name, 0.0) + seconds, 2)})
        logger.info("%s: done in %s", name, format_seconds(seconds))


def environment() -> dict[str, Any]:
    """Return where this process runs: time, command line, versions, machine."""
    versions = {"python": platform.python_version()}
    for package in ("keras-transformer-toolkit", "tensorflow", "keras", "tensorflow-text", "numpy", "scikit-learn"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "folder": os.getcwd(),
        "versions": versions,
        "machine": {"system": platform.platform(), "processor": _processor(), "cores": len(os.sched_getaffinity(0))},
    }


def format_seconds(seconds: float) -> str:
    """Return a duration as people write it: `7.3 s`, `2:05`, `1:00:02`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
