"""A run from its files to its scores: list the work, leave out what is finished, score the rest, count everything."""

import contextlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from . import counting, manifest, storage
from .blocks import BAD, SCORES
from .model import BATCH_SIZE, check_model
from .options import ScoringOptions
from .pipeline import RUNNERS, load_beam, run_pipeline
from .progress import Progress
from .work import find_inputs, list_work, tasks

SUMMARY_FILE = "summary.json"


class IncompleteError(RuntimeError):
    """After a run some lines are neither scored nor bad."""


def score_files(
    model: str,
    inputs: Sequence[str],
    output: str,
    options: ScoringOptions | None = None,
    *,
    batch_size: int = BATCH_SIZE,
    runner: str = "direct",
    workers: int = 1,
    beam_options: Sequence[str] = (),
) -> dict[str, Any]:
    """Scores every line of some files, and goes on where an earlier run into the same folder was stopped.

    Needs Apache Beam, TensorFlow and tensorflow_text; docs/scoring.md shows the environment and the command.

    Args:
        model: str, version folder of a SavedModel.
        inputs: sequence of str, files or patterns.
        output: str, folder to write to.
        options: `ScoringOptions`, or None for the default ones.
        batch_size: int, texts in one call of the model. Default 256.
        runner: str, "direct" (default), "flink", "spark", "dataflow" or "portable".
        workers: int, processes of the direct runner. Default 1.
        beam_options: sequence of str, options of Beam and of the runner.

    Returns:
        Dict with `files`, `lines`, `scored`, `bad`, `bad_by_reason`, `missing`, and of this run alone `scored_now`,
        `seconds` and `texts_per_second`; also written to `summary.json`.

    Raises:
        FileNotFoundError: If an input or the model is missing.
        ImportError: If Beam is not installed.
        ValueError: If the model, a file or an option cannot be used, or the folder holds scores of something else.
        IncompleteError: If a line is neither scored nor bad in the end.
    """
    options = options or ScoringOptions()
    if runner != "direct" and runner not in RUNNERS:
        raise ValueError(f"runner must be one of direct, {', '.join(RUNNERS)}. Received: {runner!r}")
    for name, value in (("batch_size", batch_size), ("workers", workers)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1. Received: {value}")
    if workers > 1 and runner != "direct":
        raise ValueError(
            f"workers are those of the direct runner; {runner} has options of its own. Received: {workers}"
        )
    load_beam()
    paths = find_inputs(inputs)
    _not_among(output, paths)
    check_model(model)
    started = time.monotonic()
    sources = list_work(paths, options)
    with _alone(output):
        goes_on = manifest.hold(output, manifest.describe(model, storage.fingerprint(model), sources, options))
        storage.remove_leftovers(output)
        for name in (SCORES, BAD):
            storage.make_folder(storage.join(output, name))
        before = counting.count(output, sources)
        left = tasks(sources, set(before.counts))
        _tell(sources, before, goes_on, time.monotonic() - started)
        started = time.monotonic()
        if left:
            with Progress(output, sources):
                run_pipeline(left, model, output, options, batch_size, runner, workers, beam_options)
        seconds = time.monotonic() - started
        after = counting.count(output, sources)
        storage.remove_leftovers(output)
        found = counting.summary(sources, after)
        now = found["scored"] - sum(entry.scored for entry in before.counts.values())
        found |= {
            "scored_now": now,
            "seconds": round(seconds, 2),
            "texts_per_second": round(now / seconds, 2) if now else None,
        }
        storage.write(output, SUMMARY_FILE, (json.dumps(found, indent=1) + "\n").encode(), output)
    if after.wrong or not counting.adds_up(found):
        why = after.wrong[0] if after.wrong else "their blocks are not written"
        raise IncompleteError(
            f"{found['missing']} of {found['lines']} lines are not in {output}: {why}. Run the same command again."
        )
    return found


def _tell(sources, before: counting.Finished, goes_on: bool, seconds: float) -> None:
    total = sum(source.size for source in sources)
    records = sum(block.records for source in sources for block in source.blocks)
    blocks = sum(len(source.blocks) for source in sources)
    print(
        f"{len(sources)} files, {records:,} lines, {total / 1e6:,.1f} MB in {blocks} blocks, "
        f"looked through in {seconds:.1f} s",
        file=sys.stderr,
    )
    if goes_on:
        print(f"going on: {len(before.counts)} of {blocks} blocks are finished", file=sys.stderr)
    for line in before.wrong:
        print(f"scored again: {line}", file=sys.stderr)


def _not_among(output: str, paths: Sequence[str]) -> None:
    inside = [path for path in paths if path.startswith(storage.join(output, ""))]
    if inside:
        raise ValueError(f"The inputs must not be in the folder of the scores, {output}. Received: {inside[0]}")


@contextlib.contextmanager
def _alone(output: str) -> Iterator[None]:
    """Holds a lock on a folder of this machine, which the system takes away from a killed process."""
    if storage.is_remote(output):
        yield
        return
    import fcntl

    storage.make_folder(output)
    with open(storage.join(output, ".lock"), "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"Another run is writing to {output}: wait for it, or choose another --output.") from None
        yield
