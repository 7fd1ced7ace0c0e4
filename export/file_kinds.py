"""The artefacts that are one file: which there are, when one is refused, and how they are written."""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .checks import token_batch, with_embeddings, write_checks
from .conversion import Conversion, convert
from .mediapipe import attach_to, classifier_model, classifier_refused, embedder_model, embedder_refused
from .mediapipe_metadata import write_metadata
from .onnx_file import FORMAT, OFFERED, onnx_model, onnx_refused
from .precision import PRECISIONS, Precision
from .signatures import Contract
from .tflite import (
    dynamic_token_model,
    full_int8_model,
    text_model,
    text_model_refused,
    token_model,
)


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of file.

    Args:
        folder: str, folder of the export in which it lies.
        stem: str, name of the file without the ending of its precision.
        describe: Function of (pipeline, contract, files by precision) that returns the `Conversion`.
        refused: Function of (pipeline, contract) that returns why there is no such file, or None if there is.
        describe_full_int8: Function of (pipeline, contract, path, examples) that returns the `Conversion` for int8
            activations, or None where that is not offered.
        finish: Function of (path, pipeline, contract) that adds to a converted file, or None.
        write_beside: Function of the path of a file that stays, or None; it writes what belongs beside it.
        suffix: str, ending of the file's name.
        offered: Names of the precisions that it comes in.
    """

    folder: str
    stem: str
    describe: Callable[..., Conversion]
    refused: Callable[..., str | None]
    describe_full_int8: Callable[..., Conversion] | None = None
    finish: Callable[..., None] | None = None
    write_beside: Callable[[pathlib.Path], None] | None = None
    suffix: str = ".tflite"
    offered: Sequence[str] = tuple(PRECISIONS)

    def file(self, root: pathlib.Path, ending: str) -> pathlib.Path:
        """Returns the path of a file of this kind."""
        return root / self.folder / f"{self.stem}{ending}{self.suffix}"


def _never(pipeline, contract: Contract) -> None:
    return None


KINDS = {
    "tflite_tokens": Kind(
        "tflite",
        "tokens",
        lambda pipeline, contract, files: token_model(pipeline.model, contract, files),
        _never,
        lambda pipeline, contract, path, examples: full_int8_model(pipeline.model, contract, path, examples),
    ),
    "tflite_dynamic": Kind(
        "tflite",
        "tokens_dynamic",
        lambda pipeline, contract, files: dynamic_token_model(pipeline.model, contract, files),
        _never,
    ),
    "tflite_text": Kind(
        "tflite",
        "text",
        lambda pipeline, contract, files: text_model(pipeline.model, pipeline.packer, contract, files),
        lambda pipeline, contract: text_model_refused(pipeline.packer),
    ),
    "mediapipe_classifier": Kind(
        "mediapipe",
        "classifier",
        lambda pipeline, contract, files: classifier_model(pipeline.model, contract, files),
        classifier_refused,
        finish=lambda path, pipeline, contract: attach_to(path, pipeline, contract.class_names),
        write_beside=write_metadata,
    ),
    "mediapipe_embedder": Kind(
        "mediapipe",
        "embedder",
        lambda pipeline, contract, files: embedder_model(pipeline.model, contract, files),
        embedder_refused,
        finish=lambda path, pipeline, contract: attach_to(path, pipeline, ()),
        write_beside=write_metadata,
    ),
    FORMAT: Kind(
        "onnx",
        "tokens",
        lambda pipeline, contract, files: onnx_model(pipeline.model, contract, files),
        onnx_refused,
        suffix=".onnx",
        offered=OFFERED,
    ),
}
"""Format -> `Kind`."""


def write_files(
    pipeline,
    contract: Contract,
    rows: list[dict[str, Any]],
    wanted: Sequence[str],
    precisions: Sequence[Precision],
    stage: pathlib.Path,
) -> list[tuple[pathlib.Path, str]]:
    """Writes the files, not verified yet, and beside them what verifying and using them needs.

    Args:
        pipeline: `TextPipeline` in float32.
        contract: `Contract` of all files.
        rows: Check rows.
        wanted: Formats of `KINDS`, none of them refused.
        precisions: In which each is written.
        stage: Folder to write to.

    Returns:
        (path, format) of each file.

    Raises:
        RuntimeError: If TensorFlow cannot convert the model.
        OSError: If the files cannot be written.
    """
    written, conversions = [], []
    for name in wanted:
        kind = KINDS[name]
        files = {}
        for precision in precisions:
            path = kind.file(stage, precision.ending)
            if precision.name not in kind.offered:
                continue
            if not precision.needs_examples:
                files[precision.name] = path
            elif kind.describe_full_int8 is None:
                continue
            else:
                examples = _examples(rows, contract.max_length)
                conversions.append(kind.describe_full_int8(pipeline, contract, path, examples))
            written.append((path, name))
        if files:
            conversions.append(kind.describe(pipeline, contract, files))
    for folder in {path.parent for path, _ in written}:
        folder.mkdir(exist_ok=True)
        contract.save(folder)
        embeds = any(name == "mediapipe_embedder" for path, name in written if path.parent == folder)
        write_checks(folder, with_embeddings(pipeline, rows, "pooled") if embeds else rows)
        # Who feeds token ids needs the vocabulary that they belong to.
        pipeline.packer.save(folder)
    convert(conversions, stage)
    for path, name in written:
        if KINDS[name].finish is not None:
            KINDS[name].finish(path, pipeline, contract)
    return written


def _examples(rows: list[dict[str, Any]], length: int) -> dict[str, np.ndarray]:
    """Returns the inputs with which the ranges of activations are measured: one row of each check text."""
    return token_batch([row["rows"][0] for row in rows], length)
