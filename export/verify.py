"""Runs the stored check texts through a written artefact and compares: an export is verified or it is not written."""

import json
import math
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .signatures import CHECK_FILE, LABEL, LABELS, LOGITS, SERVING, TEXT, TOKENS, Contract

TOLERANCE = 1e-4
"""Largest absolute difference of a logit or probability that passes."""
BATCH = 8
"""Texts at a time; some are also run alone, because a text's answer may not depend on its neighbours."""
ALONE = 4


class VerificationError(ValueError):
    """An artefact that does not give what its check texts say."""


def verify(path: str | pathlib.Path, tolerance: float = TOLERANCE) -> list[dict[str, Any]]:
    """Verifies an artefact with the check texts that are stored beside it.

    Args:
        path: A `.tflite` file, a version folder of a SavedModel, or a folder that holds such artefacts.
        tolerance: float, largest absolute difference of a logit or probability. Default 1e-4.

    Returns:
        One dict an artefact: `path`, `format`, `checks` (number of texts), `max_difference` by signature.

    Raises:
        FileNotFoundError: If there is no artefact.
        VerificationError: If an artefact gives other values than its check texts say.
    """
    path = pathlib.Path(path)
    artefacts = list(_artefacts(path))
    if not artefacts:
        raise FileNotFoundError(f"No SavedModel and no .tflite file in {path}.")
    return [verify_one(artefact, tolerance) for artefact in artefacts]


def verify_one(path: pathlib.Path, tolerance: float = TOLERANCE) -> dict[str, Any]:
    """Verifies one `.tflite` file or one version folder of a SavedModel; arguments and results as for `verify`."""
    is_file = path.suffix == ".tflite"
    beside = path.parent if is_file else path / "assets.extra"
    contract, checks = Contract.load(beside), read_checks(beside)
    if is_file:
        takes_text, run = open_tflite(path, num_threads=os.cpu_count())
        kind = "tflite_text" if takes_text else "tflite_tokens"
        compare = {SERVING: lambda: text_difference(run, contract, checks, tolerance)}
        if not takes_text:
            # The file has a static shape: one row at a time, padded to the full length.
            compare = {SERVING: lambda: token_difference(run, contract, checks, 1, contract.max_length)}
    else:
        kind, runs = "saved_model", open_saved_model(path)
        compare = {
            SERVING: lambda: text_difference(runs[SERVING], contract, checks, tolerance),
            TOKENS: lambda: token_difference(runs[TOKENS], contract, checks, BATCH, None),
        }
    differences = {}
    for name, measure in compare.items():
        try:
            differences[name] = measure()
        except Exception as error:
            raise VerificationError(f"{path}: the signature {name} fails: {str(error).splitlines()[0]}") from error
        if not differences[name] <= tolerance:
            raise VerificationError(
                f"{path}: the signature {name} differs from the stored check values by {differences[name]:.3g}, "
                f"more than {tolerance:g}. The export is not usable."
            )
    return {"path": str(path), "format": kind, "checks": len(checks), "max_difference": differences}


def text_difference(run: Callable, contract: Contract, checks: list[dict], tolerance: float = TOLERANCE) -> float:
    """Returns the largest difference that a text signature shows, in batches of mixed length and alone.

    Args:
        run: Function of `text=` that returns the served outputs, and `logits` or not.
        contract: `Contract` of the artefact.
        checks: Rows with `text` and `logits`.
        tolerance: float, below which a difference may change the label of an undecided text. Default 1e-4.

    Returns:
        Largest absolute difference of a number; infinity for one that is not finite or for a wrong label.
    """
    texts = [row["text"] for row in checks]
    logits = np.asarray([row["logits"] for row in checks], np.float64)
    parts = [range(start, min(start + BATCH, len(texts))) for start in range(0, len(texts), BATCH)]
    parts += [range(i, i + 1) for i in range(min(ALONE, len(texts)))]
    worst = 0.0
    for part in parts:
        outputs = run(text=[texts[i] for i in part])
        worst = max(worst, _difference(outputs, contract, logits[list(part)], tolerance))
    return worst


def token_difference(run: Callable, contract: Contract, checks: list[dict], batch: int, length: int | None) -> float:
    """Returns the largest difference that a token signature shows; arguments and result as for `text_difference`.

    Args:
        run: Function of the three token inputs that returns the served outputs and `logits`.
        contract: `Contract` of the artefact.
        checks: Rows with `rows` and `logits`.
        batch: int, rows at a time.
        length: int, length to pad to; None for the longest of the batch.
    """
    rows = [row for check in checks for row in check["rows"]]
    outputs: list[dict] = []
    worst = 0.0
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
        outputs.append(run(**token_batch(part, length or max(map(len, part)))))
        # What is served must follow from the logits of the same call.
        worst = max(worst, _difference(outputs[-1], contract, outputs[-1][LOGITS], TOLERANCE))
    logits = np.concatenate([part[LOGITS] for part in outputs])
    ends = np.cumsum([len(check["rows"]) for check in checks])
    pooled = [part.mean(axis=0) for part in np.split(logits, ends[:-1])]
    return max(worst, _largest(np.asarray(pooled), [check["logits"] for check in checks]))


def _difference(outputs: dict, contract: Contract, logits: np.ndarray, tolerance: float) -> float:
    expected = contract.expected(logits) | ({LOGITS: logits} if LOGITS in outputs else {})
    if set(outputs) != set(expected):
        raise ValueError(f"the outputs are {sorted(outputs)}, and should be {sorted(expected)}")
    worst = 0.0
    for name, values in expected.items():
        if outputs[name].shape != values.shape:
            raise ValueError(f"{name} has the shape {outputs[name].shape}, and should have {values.shape}")
        if name in (LABEL, LABELS):
            given = np.vectorize(bytes.decode, otypes=[object])(outputs[name])
            wrong = (given != values) & ~contract.undecided(logits, tolerance)
            worst = math.inf if wrong.any() else worst
        else:
            worst = max(worst, _largest(outputs[name], values))
    return worst


def _largest(values, expected) -> float:
    difference = np.abs(np.asarray(values, np.float64) - np.asarray(expected, np.float64)).max()
    return float(difference) if np.isfinite(difference) else math.inf


def write_checks(folder: pathlib.Path, checks: list[dict[str, Any]]) -> None:
    """Writes check rows: `text`, `rows` (lists of token ids; several for windows) and `logits`."""
    lines = "".join(json.dumps(row, ensure_ascii=True) + "\n" for row in checks)
    (folder / CHECK_FILE).write_text(lines, encoding="utf-8")


def read_checks(folder: pathlib.Path) -> list[dict[str, Any]]:
    """Reads what `write_checks` wrote.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is empty or damaged.
    """
    path = folder / CHECK_FILE
    if not path.is_file():
        raise FileNotFoundError(f"No {CHECK_FILE} in {folder}: the artefact cannot be verified.")
    try:
        checks = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        complete = bool(checks) and all({"text", "rows", "logits"} <= set(row) for row in checks)
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if not complete:
        raise ValueError(f"{path} is damaged: it needs rows with text, rows and logits.")
    return checks


def open_saved_model(path: pathlib.Path) -> dict[str, Callable[..., dict[str, np.ndarray]]]:
    """Loads a SavedModel and returns its signatures as functions of named arrays.

    Args:
        path: The version folder.

    Raises:
        ValueError: If it cannot be loaded.
    """
    import tensorflow as tf
    import tensorflow_text  # noqa: F401 - registers the operators of the packer

    try:
        loaded = tf.saved_model.load(str(path))
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise ValueError(f"{path} cannot be loaded as a SavedModel: {str(error).splitlines()[0]}") from error

    def bind(function):
        # The loaded object owns the weights: the default argument keeps it alive as long as the function.
        def run(_loaded=loaded, **inputs):
            outputs = function(**{name: tf.constant(value) for name, value in inputs.items()})
            return {name: value.numpy() for name, value in outputs.items()}

        return run

    return {name: bind(loaded.signatures[name]) for name in (SERVING, TOKENS)}


def open_tflite(path: pathlib.Path, num_threads: int | None = None) -> tuple[bool, Callable]:
    """Loads a `.tflite` file in the LiteRT interpreter.

    Args:
        path: The file.
        num_threads: int or None, threads of the interpreter. Default None, its own choice.

    Returns:
        Whether the model takes text, and its signature as a function of named arrays.

    Raises:
        ImportError: If ai-edge-litert is not installed.
        ValueError: If the file cannot be loaded.
    """
    try:
        from ai_edge_litert.interpreter import InterpreterWithCustomOps
    except ImportError as error:
        raise ImportError(
            ".tflite files are verified in LiteRT, which is missing. Run: pip install ai-edge-litert"
        ) from error
    from tensorflow_text.core.pybinds import tflite_registrar

    try:
        interpreter = InterpreterWithCustomOps(
            model_path=str(path),
            custom_op_registerers=tflite_registrar.SELECT_TFTEXT_OPS,
            num_threads=num_threads,
        )
        takes_text = interpreter.get_signature_list()[SERVING]["inputs"] == [TEXT]
        runner = interpreter.get_signature_runner(SERVING)
    except (ValueError, KeyError, RuntimeError) as error:
        raise ValueError(f"{path} cannot be loaded as a TFLite model: {error}") from error

    def run(**inputs):
        if takes_text:
            inputs = {TEXT: np.asarray(inputs[TEXT], object)}
        return runner(**inputs)

    return takes_text, run


def token_batch(rows: list[list[int]], length: int) -> dict[str, np.ndarray]:
    """Pads rows of token ids to the inputs of a token signature.

    Args:
        rows: Lists of token ids, `[CLS]` and `[SEP]` included.
        length: int, length to pad to.

    Returns:
        Dict of int32 arrays of shape (rows, length) under the names of the artefact.
    """
    ids = np.zeros((len(rows), length), np.int32)
    mask = np.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = row
        mask[i, : len(row)] = 1
    return {"input_word_ids": ids, "input_mask": mask, "input_type_ids": np.zeros_like(ids)}


def _artefacts(path: pathlib.Path) -> Iterator[pathlib.Path]:
    if (path.suffix == ".tflite" and path.is_file()) or (path / "saved_model.pb").is_file():
        yield path
    elif path.is_dir():
        for entry in sorted(path.iterdir()):
            if not entry.name.startswith("."):
                yield from _artefacts(entry)
