"""Counts what is written, from the written files themselves: which blocks are finished, and does all add up."""

import collections
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from . import storage
from .blocks import BAD, SCORES, part_name
from .work import Block, Source


class Counts(NamedTuple):
    """What the files of a block hold.

    Args:
        scored: int, lines with scores.
        bad: `Counter` of reasons.
    """

    scored: int
    bad: collections.Counter


class Finished(NamedTuple):
    """What a folder holds.

    Args:
        counts: dict from the number of a block to its `Counts`.
        wrong: list of str, a line for each block whose files do not hold all of its records, once.
    """

    counts: dict[int, Counts]
    wrong: list[str]


def count(output: str, sources: Sequence[Source]) -> Finished:
    """Counts the blocks that are written.

    Args:
        output: str, folder of the run.
        sources: sequence of `Source`.
    """
    written = storage.names_in(storage.join(output, SCORES))
    counts, wrong = {}, []
    for source in sources:
        for block in source.blocks:
            name = part_name(block.number)
            if name not in written:
                continue
            found, problem = _count(output, name, block)
            if problem:
                wrong.append(f"{SCORES}/{name}, of {source.path} from line {block.line}: {problem}")
            else:
                counts[block.number] = found
    return Finished(counts, wrong)


def finished_blocks(output: str, sources: Sequence[Source]) -> set[int]:
    """Returns the numbers of the blocks whose scores have their name: a listing, nothing is read."""
    names = storage.names_in(storage.join(output, SCORES))
    return {block.number for source in sources for block in source.blocks if part_name(block.number) in names}


def summary(sources: Sequence[Source], finished: Finished) -> dict[str, Any]:
    """Returns the counts of all files.

    Args:
        sources: sequence of `Source`.
        finished: `Finished`.

    Returns:
        Dict with `files`, `lines` (records; the first row of a table is none), `scored`, `bad`, `bad_by_reason` and
        `missing`, the records of blocks that are not written.
    """
    reasons = sum((entry.bad for entry in finished.counts.values()), collections.Counter())
    blocks = [block for source in sources for block in source.blocks]
    return {
        "files": len(sources),
        "lines": sum(block.records for block in blocks),
        "scored": sum(entry.scored for entry in finished.counts.values()),
        "bad": reasons.total(),
        "bad_by_reason": dict(reasons.most_common()),
        "missing": sum(block.records for block in blocks if block.number not in finished.counts),
    }


def adds_up(counts: dict[str, Any]) -> bool:
    """Returns whether each line is scored or bad, once."""
    return counts["missing"] == 0 and counts["lines"] == counts["scored"] + counts["bad"]


def _count(output: str, name: str, block: Block) -> tuple[Counts, str]:
    try:
        places = [entry["offset"] for entry in _entries(output, SCORES, name)]
        scored = len(places)
        reasons: collections.Counter = collections.Counter()
        for entry in _entries(output, BAD, name):
            reasons[entry["reason"]] += 1
            places.append(entry["offset"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Counts(0, collections.Counter()), f"damaged: {error}"
    once = len(set(places)) == len(places) and all(block.start <= place < block.end for place in places)
    if not once or len(places) != block.records:
        return Counts(
            0, collections.Counter()
        ), f"{len(set(places))} of {block.records} lines, in {len(places)} records"
    return Counts(scored, reasons), ""


def _entries(output: str, kind: str, name: str):
    for line in storage.read(storage.join(output, kind, name)).splitlines():
        yield json.loads(line)
