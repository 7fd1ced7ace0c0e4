"""`export_pipeline`: every artefact is written under a temporary name, run, compared, and only then renamed."""

import logging
import math
import pathlib
import shutil
from collections.abc import Sequence
from typing import Any

from .checks import write_checks
from .report import describe, write_report
from .saved_model import embedding_of, write_saved_model
from .serving import ServingOptions, files
from .serving.warmup import write_warmup
from .signatures import EMBEDDING, LOGITS, Contract
from .staging import publish_new, publish_replacing, staging
from .tflite import convert, text_model, text_model_refused, token_model
from .verify import TOLERANCE, verify_one

FORMATS = {
    "saved_model": ("saved_model",),
    "tflite": ("tflite_tokens", "tflite_text"),
    "tflite_tokens": ("tflite_tokens",),
    "tflite_text": ("tflite_text",),
}
_log = logging.getLogger(__name__)


def export_pipeline(
    pipeline,
    out_dir: str | pathlib.Path,
    formats: Sequence[str] = ("saved_model", "tflite"),
    version: int | None = None,
    *,
    checks: Sequence[tuple[str, Sequence[float]]] | None = None,
    tolerance: float = TOLERANCE,
    serving: ServingOptions | None = None,
) -> dict[str, Any]:
    """Exports a pipeline; either every format is written and verified, or nothing is.

    The folder gets `saved_model/<version>/`, `tflite/tokens.tflite` and `tflite/text.tflite`, and `report.json`. A new
    SavedModel stands beside older versions; `tflite/` is replaced as a whole. With the first SavedModel come the files
    of a server, in `serving/`, which later exports leave as they are.

    Args:
        pipeline: `TextPipeline`.
        out_dir: Folder to write to; it is created.
        formats: Any of "saved_model", "tflite" (both files), "tflite_tokens" and "tflite_text". Default
            ("saved_model", "tflite"). "tflite" leaves out a file that TFLite cannot run, and the report says why; asked
            for by its own name, it is an error.
        version: int above 0, of the SavedModel; None means the next free one.
        checks: Texts and their logits that every artefact must give; None computes those of `pipeline.check_texts`.
        tolerance: float, largest absolute difference of a logit or probability. Default 1e-4.
        serving: `ServingOptions` of the SavedModel: name, embedding, batch sizes. Default None, the defaults.

    Returns:
        The report: `artefacts` (for each `path`, `format`, `bytes`, `operators`, `checks`, `max_difference`,
        `tolerance`), `refused`, `written` (the paths of this call), and `versions` of the software.

    Raises:
        ValueError: For an unknown format, or one that this pipeline cannot have.
        VerificationError: If an artefact does not give the logits of the checks.
        FileExistsError: If the version exists.
        OSError: If the disk is full, or the folder cannot be written.
        RuntimeError: If TensorFlow cannot convert the model.

    Example:
        ```python
        import keras_transformer
        from keras_transformer.export import export_pipeline
        from keras_transformer.layers import AttentionConfig, FeedForwardConfig
        from keras_transformer.models import EncoderConfig

        config = EncoderConfig(
            vocabulary_size=100, hidden_dim=16, num_layers=1, max_length=32,
            attention=AttentionConfig(num_heads=2), feed_forward=FeedForwardConfig(intermediate_dim=32),
        )
        pipeline = keras_transformer.fine_tune(
            ["good film", "bad film"] * 10, ["pos", "neg"] * 10, init="scratch", config=config, epochs=1, verbose=0
        )
        report = export_pipeline(pipeline, "export", formats=["saved_model"])
        assert report["written"] == ["saved_model/1"]
        ```
    """
    import keras

    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            "Export needs Keras on TensorFlow: set KERAS_BACKEND=tensorflow. "
            f"Received: KERAS_BACKEND={keras.backend.backend()}"
        )
    pipeline = _in_float32(pipeline)
    wanted, refused = _expand(formats, pipeline.packer)
    out_dir = pathlib.Path(out_dir)
    _check_version(version, out_dir / "saved_model")
    contract = Contract(
        kind=pipeline.kind,
        class_names=pipeline.class_names,
        temperature=1.0 if pipeline.kind == "regression" else pipeline.temperature,
        threshold=pipeline.threshold,
        max_length=pipeline.packer.max_length,
        truncation=pipeline.packer.truncation,
    )
    rows = _check_rows(pipeline, checks)
    with staging(out_dir) as stage:
        _check_free_space(stage, pipeline.model, wanted)
        entries = _write(pipeline, contract, rows, wanted, stage, tolerance, serving or ServingOptions())
        written = _publish(stage, out_dir, version, entries)
    return write_report(out_dir, written, refused)


def _expand(formats: Sequence[str], packer) -> tuple[list[str], list[dict[str, str]]]:
    formats = [formats] if isinstance(formats, str) else list(formats)
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise ValueError(f"formats must be some of {', '.join(FORMATS)}. Received: {formats!r}")
    wanted = list(dict.fromkeys(part for name in formats for part in FORMATS[name]))
    refused = []
    reason = text_model_refused(packer) if "tflite_text" in wanted else None
    if reason and "tflite_text" in formats:
        raise ValueError(reason)
    if reason:
        _log.warning("%s", reason)
        wanted.remove("tflite_text")
        refused.append({"format": "tflite_text", "reason": reason})
    return wanted, refused


def _check_version(version: int | None, base: pathlib.Path) -> None:
    if version is None:
        return
    if isinstance(version, bool) or not isinstance(version, int) or not 0 < version < 2**63:
        raise ValueError(f"version must be an integer above 0. Received: {version!r}")
    if (base / str(version)).exists():
        raise FileExistsError(f"{base / str(version)} exists. Choose another version, or none for the next one.")


def _check_free_space(folder: pathlib.Path, model, wanted: list[str]) -> None:
    weights = sum(4 * math.prod(weight.shape) for weight in model.weights)
    # The weights once in each artefact, and once more in the SavedModel from which a .tflite is converted.
    needed = 2**24 + weights * sum(1 if name == "saved_model" else 2 for name in wanted)
    free = shutil.disk_usage(folder).free
    if free < needed:
        sizes = f"needs {needed >> 20} MiB. Received: {free >> 20} MiB free"
        raise OSError(f"The disk is too full: an export to {folder.parent} {sizes}")


def _in_float32(pipeline):
    """Returns the pipeline, or for one that computes in another dtype a copy with the same weights in float32."""
    model = pipeline.model
    if all(layer.compute_dtype == "float32" for layer in model._flatten_layers()):
        return pipeline
    config = model.get_config()
    config["encoder"] = config["encoder"] | {"dtype": "float32"}
    copy = type(model).from_config(config)
    copy.set_weights(model.get_weights())
    options = {"temperature": pipeline.temperature, "threshold": pipeline.threshold}
    result = type(pipeline)(copy, pipeline.packer, pipeline.class_names, **options)
    result.check_texts = pipeline.check_texts
    return result


def _check_rows(pipeline, checks) -> list[dict[str, Any]]:
    from keras_transformer import data

    if checks is None:
        checks = list(zip(pipeline.check_texts, pipeline.logits(pipeline.check_texts).tolist(), strict=True))
    encoded = data.encode(pipeline.packer, [text for text, _ in checks])
    rows: list[dict[str, Any]] = [
        {"text": text, "rows": [], "logits": [float(value) for value in logits]} for text, logits in checks
    ]
    for i, example in enumerate(encoded.example_ids):
        rows[example]["rows"].append(encoded.row(i).tolist())
    return rows


def _write(pipeline, contract, rows, wanted, stage, tolerance, serving: ServingOptions) -> list[dict[str, Any]]:
    """Writes and verifies everything in the temporary folder; returns the entries of the report."""
    model, packer = pipeline.model, pipeline.packer
    paths, conversions = [], []
    if "saved_model" in wanted:
        paths.append(stage / "saved_model")
        write_saved_model(model, packer, contract, paths[-1], serving.embedding)
        _write_beside(paths[-1] / "assets.extra", contract, _with_embeddings(pipeline, rows, serving.embedding))
        _write_for_servers(paths[-1], packer, rows, serving)
    folder = stage / "tflite"
    if "tflite_tokens" in wanted:
        conversions.append(token_model(model, contract, folder / "tokens.tflite"))
    if "tflite_text" in wanted:
        conversions.append(text_model(model, packer, contract, folder / "text.tflite"))
    if conversions:
        _write_beside(folder, contract, rows)
        # Who feeds token ids needs the vocabulary that they belong to.
        packer.save(folder)
        convert(conversions, stage)
        paths.extend(conversion.path for conversion in conversions)
    return [describe(path, verify_one(path, tolerance), stage, tolerance) for path in paths]


def _with_embeddings(pipeline, rows: list[dict[str, Any]], embedding: str) -> list[dict[str, Any]]:
    """Adds the vector that the signature `embed` must give, computed by Keras."""
    import keras

    from keras_transformer import data
    from keras_transformer.pipelines import scoring

    model = keras.Model(pipeline.model.input, {LOGITS: embedding_of(pipeline.model, embedding)})
    vectors = scoring.score_rows(model, data.encode(pipeline.packer, [row["text"] for row in rows]))
    # Nine digits are a float32, and half as long as the float64 that Python would print.
    return [
        row | {EMBEDDING: [float(f"{value:.9g}") for value in vector]}
        for row, vector in zip(rows, vectors, strict=True)
    ]


def _write_for_servers(version: pathlib.Path, packer, rows: list[dict[str, Any]], serving: ServingOptions) -> None:
    (version / files.BATCHING_FILE).write_text(files.batching_text(serving), encoding="utf-8")
    write_warmup(version, packer, [word for row in rows for word in row["text"].split()][:200], serving.batch_sizes)
    files.write_server_files(version.parent / files.FOLDER, serving)


def _write_beside(folder: pathlib.Path, contract: Contract, rows: list[dict[str, Any]]) -> None:
    folder.mkdir(exist_ok=True)
    contract.save(folder)
    write_checks(folder, rows)


def _publish(stage, out_dir, version, entries) -> list[dict[str, Any]]:
    if (stage / "saved_model").is_dir():
        target = publish_new(stage / "saved_model", out_dir / "saved_model", version)
        entries[0]["path"] = target.relative_to(out_dir).as_posix()
        if not (out_dir / files.FOLDER).exists():
            (stage / files.FOLDER).rename(out_dir / files.FOLDER)
    if (stage / "tflite").is_dir():
        publish_replacing(stage / "tflite", out_dir / "tflite")
    return entries
