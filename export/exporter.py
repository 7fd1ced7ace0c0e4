"""`export_pipeline`: every artefact is written under a temporary name, run, compared, and only then renamed."""

import dataclasses
import logging
import math
import pathlib
import shutil
from collections.abc import Sequence
from typing import Any

from .checks import with_embeddings, write_checks
from .file_kinds import KINDS, write_files
from .measuring import measure, refusal_entry, verify_written
from .model_card import write_card
from .precision import Precision, choose
from .report import write_report
from .saved_model import write_saved_model
from .serving import ServingOptions, files
from .serving.warmup import write_warmup
from .signatures import Contract
from .staging import publish_new, publish_replacing, staging
from .verify import TOLERANCE

FORMATS = {
    "saved_model": ("saved_model",),
    "tflite": ("tflite_tokens", "tflite_text"),
    "mediapipe": ("mediapipe_classifier", "mediapipe_embedder"),
} | {name: (name,) for name in KINDS}
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
    precisions: Sequence[str] = ("float32",),
    held_out=None,
    speed: bool = False,
) -> dict[str, Any]:
    """Exports a pipeline; either every format is written and verified, or nothing is.

    The folder gets `saved_model/<version>/`, `tflite/tokens.tflite` and `tflite/text.tflite`, `report.json`,
    `report.html` and `MODEL_CARD.md`. A new SavedModel stands beside older versions; `tflite/` is replaced as a whole.
    With the first SavedModel come the files of a server, in `serving/`, which later exports leave as they are.

    Args:
        pipeline: `TextPipeline`.
        out_dir: Folder to write to; it is created.
        formats: Any of "saved_model", "tflite" (token ids, and raw text), "tflite_tokens", "tflite_text",
            "tflite_dynamic" (one row of token ids of any length), "mediapipe" ("mediapipe_classifier" and
            "mediapipe_embedder") and "onnx" (rows of token ids of any length). Default ("saved_model", "tflite").
            "tflite" and "mediapipe" leave out a file that their runtime cannot run, and the report says why; asked
            for by its own name, it is an error.
        version: int above 0, of the SavedModel; None means the next free one.
        checks: Texts and their logits that every artefact must give; None computes those of `pipeline.check_texts`.
        tolerance: float, largest absolute difference of a logit or probability in float32. Default 1e-4.
        serving: `ServingOptions` of the SavedModel: name, embedding, dtype, batch sizes. Default None, the defaults.
        precisions: Names of `precision.PRECISIONS`, for every artefact that is one file. Default ("float32",). A file
            that loses too much accuracy on the held-out texts is not written, and the report says why; one whose
            activations are int8 ("full_int8") needs held-out texts. ONNX files come in float32 and int8.
        held_out: `data.Examples` with which the accuracy of every artefact is measured, or None. Default None.
        speed: Whether latency and memory of every artefact are measured. Default False.

    Returns:
        The report: `artefacts` (for each `path`, `format`, `bytes`, `operators`, `checks`, `max_difference`,
        `tolerance`, and of files `precision`, `deviations` and `partitions`; `held_out` and `speed` where
        they were measured), `refused`, `written` (the paths of this call), and `versions` of the software.

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
    chosen = choose(precisions)
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
    wanted, refused = _expand(formats, pipeline, contract)
    chosen, unmeasured = _without_unmeasured(chosen, wanted, held_out)
    unmeasured += _not_offered(chosen, wanted)
    rows = _check_rows(pipeline, checks)
    with staging(out_dir) as stage:
        _check_free_space(stage, pipeline.model, wanted, chosen)
        paths = _write(pipeline, contract, rows, wanted, chosen, stage, serving or ServingOptions())
        entries, deviating = verify_written(paths, stage, tolerance)
        entries, inaccurate = measure(entries, stage, pipeline, contract, held_out, speed)
        for entry in entries:
            if entry["format"] in KINDS and KINDS[entry["format"]].write_beside is not None:
                KINDS[entry["format"]].write_beside(stage / entry["path"])
        written = _publish(stage, out_dir, version, entries)
    report = write_report(out_dir, written, refused + unmeasured + deviating + inaccurate)
    write_card(out_dir, report, contract, pipeline.packer)
    return report


def _expand(formats: Sequence[str], pipeline, contract: Contract) -> tuple[list[str], list[dict[str, str]]]:
    formats = [formats] if isinstance(formats, str) else list(formats)
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise ValueError(f"formats must be some of {', '.join(FORMATS)}. Received: {formats!r}")
    wanted, refused = [], []
    for name in dict.fromkeys(part for given in formats for part in FORMATS[given]):
        reason = KINDS[name].refused(pipeline, contract) if name in KINDS else None
        if reason and name in formats:
            raise ValueError(reason)
        if reason:
            _log.warning("%s", reason)
            refused.append({"format": name, "reason": reason})
        else:
            wanted.append(name)
    if not wanted:
        raise ValueError(f"Nothing can be written: {refused[0]['reason']}")
    return wanted, refused


def _without_unmeasured(
    chosen: list[Precision], wanted: list[str], held_out
) -> tuple[list[Precision], list[dict[str, str]]]:
    """Leaves out precisions that are only offered with a measured accuracy, or not for the wanted files."""
    offered = any(name in KINDS and KINDS[name].describe_full_int8 is not None for name in wanted)
    if offered and held_out is not None:
        return chosen, []
    reason = (
        "it needs held-out texts, because without a measured accuracy it is not offered."
        if offered
        else "activations in int8 are offered for the format tflite_tokens only."
    )
    left_out = [precision for precision in chosen if precision.needs_examples]
    if not any(name in KINDS for name in wanted):
        left_out = []
    refused = [refusal_entry("tflite_tokens", precision, reason) for precision in left_out]
    kept = [precision for precision in chosen if precision not in left_out]
    if not kept and "saved_model" not in wanted:
        raise ValueError(f"Nothing can be written: {refused[0]['reason']}")
    return kept, refused


def _not_offered(chosen: list[Precision], wanted: list[str]) -> list[dict[str, str]]:
    """Says which files do not come in which of the chosen precisions; at least one artefact must remain."""
    missing = [
        (name, precision) for name in wanted if name in KINDS for precision in chosen if not _comes(name, precision)
    ]
    if missing and len(missing) == len(wanted) * len(chosen):
        name = missing[0][0]
        raise ValueError(f"{name} comes in {', '.join(KINDS[name].offered)}. Received: {missing[0][1].name}")
    return [
        refusal_entry(name, precision, f"it comes in {', '.join(KINDS[name].offered)}.") for name, precision in missing
    ]


def _comes(name: str, precision: Precision) -> bool:
    # Activations in int8 are left out before, with their own reason.
    return precision.needs_examples or precision.name in KINDS[name].offered


def _check_version(version: int | None, base: pathlib.Path) -> None:
    if version is None:
        return
    if isinstance(version, bool) or not isinstance(version, int) or not 0 < version < 2**63:
        raise ValueError(f"version must be an integer above 0. Received: {version!r}")
    if (base / str(version)).exists():
        raise FileExistsError(f"{base / str(version)} exists. Choose another version, or none for the next one.")


def _check_free_space(folder: pathlib.Path, model, wanted: list[str], chosen: list[Precision]) -> None:
    weights = sum(4 * math.prod(weight.shape) for weight in model.weights)
    # The weights once in each artefact, and twice more where a .tflite is converted: its SavedModel, its first form.
    needed = 2**24 + weights * sum(1 if name == "saved_model" else 1 + 2 * len(chosen) for name in wanted)
    free = shutil.disk_usage(folder).free
    if free < needed:
        sizes = f"needs {needed >> 20} MiB. Received: {free >> 20} MiB free"
        raise OSError(f"The disk is too full: an export to {folder.parent} {sizes}")


def _in_float32(pipeline):
    """Returns the pipeline, or for one that computes in another dtype a copy with the same weights in float32."""
    copy = _in_dtype(pipeline.model, "float32")
    if copy is pipeline.model:
        return pipeline
    options = {"temperature": pipeline.temperature, "threshold": pipeline.threshold}
    result = type(pipeline)(copy, pipeline.packer, pipeline.class_names, **options)
    result.check_texts = pipeline.check_texts
    return result


def _in_dtype(model, dtype: str):
    """Returns the model, or if its layers compute in another dtype a copy with the same weights in this one."""
    if all(layer.compute_dtype == dtype for layer in model._flatten_layers()):
        return model
    config = model.get_config()
    config["encoder"] = config["encoder"] | {"dtype": dtype}
    copy = type(model).from_config(config)
    copy.set_weights(model.get_weights())
    return copy


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


def _write(pipeline, contract, rows, wanted, chosen, stage, serving: ServingOptions) -> list[tuple[pathlib.Path, str]]:
    """Writes everything in the temporary folder, not verified yet; returns (path, format) of each artefact."""
    paths: list[tuple[pathlib.Path, str]] = []
    if "saved_model" in wanted:
        version, served = stage / "saved_model", dataclasses.replace(contract, dtype=serving.dtype)
        paths.append((version, "saved_model"))
        model = _in_dtype(pipeline.model, serving.dtype)
        write_saved_model(model, pipeline.packer, served, version, serving.embedding)
        _write_beside(version / "assets.extra", served, with_embeddings(pipeline, rows, serving.embedding))
        _write_for_servers(version, pipeline.packer, rows, serving)
    files = [name for name in wanted if name in KINDS]
    if files and chosen:
        paths += write_files(pipeline, contract, rows, files, chosen, stage)
    return paths


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
    for folder, kind in {kind.folder: kind for kind in KINDS.values()}.items():
        if any((stage / folder).glob(f"*{kind.suffix}")):
            publish_replacing(stage / folder, out_dir / folder)
    return entries
