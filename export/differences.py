"""How far the answers of a signature are from the stored check values."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from .checks import token_batch
from .serving.tensors import example
from .signatures import (
    CLASSES,
    EMBEDDING,
    EXAMPLES,
    LABEL,
    LABELS,
    LOGITS,
    OUTPUTS,
    PROBABILITIES,
    REGRESSED,
    SCORES,
    VALUES,
    Contract,
)

TOLERANCE = 1e-4
"""Largest absolute difference of a logit or probability that passes."""
BATCH = 8
"""Texts at a time; some are also run alone, because a text's answer may not depend on its neighbours."""
ALONE = 4


def served_difference(run: Callable, contract: Contract, checks: list[dict], tolerance: float = TOLERANCE) -> float:
    """`text_difference` of the outputs that the kind of the model serves."""
    return text_difference(run, contract, checks, OUTPUTS[contract.kind], tolerance)


def logits_difference(run: Callable, contract: Contract, checks: list[dict], tolerance: float = TOLERANCE) -> float:
    """`text_difference` of a signature that gives only logits."""
    return text_difference(run, contract, checks, (LOGITS,), tolerance)


def padded_token_difference(
    run: Callable, contract: Contract, checks: list[dict], tolerance: float = TOLERANCE
) -> float:
    """`token_difference` of a signature that takes any number of rows of any length."""
    return token_difference(run, contract, checks, BATCH, None)


def text_difference(
    run: Callable, contract: Contract, checks: list[dict], names: Sequence[str], tolerance: float = TOLERANCE
) -> float:
    """Returns the largest difference that a text signature shows, in batches of mixed length and alone.

    Args:
        run: Function of `text=` that returns the outputs.
        contract: `Contract` of the artefact.
        checks: Rows with `text` and `logits`.
        names: Names of the outputs.
        tolerance: float, below which a difference may change the label of an undecided text. Default 1e-4.

    Returns:
        Largest absolute difference of a number; infinity for one that is not finite or for a wrong label.
    """
    texts = [row["text"] for row in checks]
    logits = np.asarray([row["logits"] for row in checks], np.float64)
    worst = 0.0
    for part in _parts(len(checks)):
        outputs = run(text=[texts[i] for i in part])
        worst = max(worst, _difference(outputs, contract, logits[part], names, tolerance))
    return worst


def token_difference(run: Callable, contract: Contract, checks: list[dict], batch: int, length: int | None) -> float:
    """Returns the largest difference that a token signature shows.

    Args:
        run: Function of the three token inputs that returns the served outputs and `logits`.
        contract: `Contract` of the artefact.
        checks: Rows with `rows` and `logits`.
        batch: int, rows at a time.
        length: int, length to pad to; None for the longest of the batch.

    Returns:
        As for `text_difference`.
    """
    rows = [row for check in checks for row in check["rows"]]
    names = (*OUTPUTS[contract.kind], LOGITS)
    logits = []
    worst = 0.0
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
        outputs = run(**token_batch(part, length or max(map(len, part))))
        logits.append(outputs[LOGITS])
        # What is served must follow from the logits of the same call.
        worst = max(worst, _difference(outputs, contract, logits[-1], names, TOLERANCE))
    ends = np.cumsum([len(check["rows"]) for check in checks])
    pooled = [part.mean(axis=0) for part in np.split(np.concatenate(logits), ends[:-1])]
    return max(worst, _largest(np.asarray(pooled), [check["logits"] for check in checks]))


def classify_difference(run: Callable, contract: Contract, checks: list[dict], tolerance: float = TOLERANCE) -> float:
    """Returns the largest difference of a Classify signature's scores; infinity if the classes are not the labels.

    Args:
        run: Function of `inputs=`, serialised `tf.Example`, that returns `classes` and `scores`.
        contract: `Contract` of the artefact.
        checks: Rows with `text` and `logits`.
        tolerance: Not used: no label depends on a small difference.
    """
    expected = contract.expected([row["logits"] for row in checks])[PROBABILITIES]
    worst = 0.0
    for part in _parts(len(checks)):
        outputs = run(**_examples(checks, part))
        _check_outputs(outputs, {CLASSES: (len(part), len(contract.class_names)), SCORES: expected[part].shape})
        if any([name.decode() for name in row] != list(contract.class_names) for row in outputs[CLASSES]):
            return math.inf
        worst = max(worst, _largest(outputs[SCORES], expected[part]))
    return worst


def regress_difference(run: Callable, contract: Contract, checks: list[dict], tolerance: float = TOLERANCE) -> float:
    """Returns the largest difference of a Regress signature's `outputs`; arguments as for `classify_difference`."""
    expected = contract.expected([row["logits"] for row in checks])[VALUES][:, 0]
    worst = 0.0
    for part in _parts(len(checks)):
        outputs = run(**_examples(checks, part))
        _check_outputs(outputs, {REGRESSED: (len(part),)})
        worst = max(worst, _largest(outputs[REGRESSED], expected[part]))
    return worst


def embedding_difference(run: Callable, contract: Contract, checks: list[dict], tolerance: float = TOLERANCE) -> float:
    """Returns the largest difference of a vector's element.

    Args:
        run: Function of `text=` that returns `embedding`.
        contract: `Contract` of the artefact; not used.
        checks: Rows with `text` and `embedding`.
        tolerance: Not used.
    """
    expected = np.asarray([row[EMBEDDING] for row in checks], np.float64)
    worst = 0.0
    for part in _parts(len(checks)):
        outputs = run(text=[checks[i]["text"] for i in part])
        _check_outputs(outputs, {EMBEDDING: expected[part].shape})
        worst = max(worst, _largest(outputs[EMBEDDING], expected[part]))
    return worst


def _parts(count: int) -> Iterator[list[int]]:
    """All rows in batches, and then some of them alone."""
    for start in range(0, count, BATCH):
        yield list(range(start, min(start + BATCH, count)))
    yield from ([i] for i in range(min(ALONE, count)))


def _examples(checks: list[dict], part: list[int]) -> dict[str, Any]:
    return {EXAMPLES: [example(checks[i]["text"]).SerializeToString() for i in part]}


def _check_outputs(outputs: dict[str, np.ndarray], shapes: dict[str, tuple[int, ...]]) -> None:
    if set(outputs) != set(shapes):
        raise ValueError(f"the outputs are {sorted(outputs)}, and should be {sorted(shapes)}")
    for name, shape in shapes.items():
        if outputs[name].shape != shape:
            raise ValueError(f"{name} has the shape {outputs[name].shape}, and should have {shape}")


def _difference(outputs: dict, contract: Contract, logits: np.ndarray, names: Sequence[str], tolerance: float) -> float:
    expected = {LOGITS: np.asarray(logits)} | contract.expected(logits)
    _check_outputs(outputs, {name: expected[name].shape for name in names})
    worst = 0.0
    for name in names:
        given, wanted = outputs[name], expected[name]
        if name in (LABEL, LABELS):
            given = np.vectorize(bytes.decode, otypes=[object])(given)
            wrong = (given != wanted) & ~contract.undecided(logits, tolerance)
            worst = math.inf if wrong.any() else worst
        else:
            worst = max(worst, _largest(given, wanted))
    return worst


def _largest(values: Any, expected: Any) -> float:
    difference = np.abs(np.asarray(values, np.float64) - np.asarray(expected, np.float64)).max()
    return float(difference) if np.isfinite(difference) else math.inf
