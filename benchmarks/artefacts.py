"""Every file that a run can become: size, operators, XNNPACK partitions, and accuracy on the held-out reviews.

    python -m benchmarks.artefacts --run=runs/imdb --folder=files

The SavedModel in float32 and bfloat16, LiteRT files in every precision, with fixed and with open length, our ONNX
files, and the ONNX files that people make of the same weights without us (onnx_peer.py). The files stay in the folder,
and finished ones in the result, so that the command goes on where it was stopped. `benchmarks.artefact_speed` times
what lies in the folder.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import sys
import time

import numpy as np

from benchmarks import onnx_peer, rounds

LENGTHS = (128, 256)
PRECISIONS = ("float32", "float16", "int8", "int4_table", "int4")
DONE = "files.json"


def contract_of(pipeline, length: int):
    """Returns the contract of files for rows of at most so many tokens."""
    from keras_transformer.export.signatures import Contract

    return Contract(pipeline.kind, pipeline.class_names, pipeline.temperature, pipeline.threshold, length)


def saved_model(pipeline, folder: pathlib.Path, dtype: str) -> pathlib.Path:
    """Returns the version folder of a SavedModel, which is written unless it is there.

    Args:
        pipeline: `TextPipeline` in float32.
        folder: Where it is written, of one run only.
        dtype: str, of the weights and products, a name of `export.precision.SAVED_MODEL`.
    """
    from keras_transformer.export import ServingOptions, export_pipeline

    folder = folder / f"saved_model_{pipeline.packer.max_length}_{dtype}"
    if not folder.is_dir():
        export_pipeline(pipeline, folder, ["saved_model"], serving=ServingOptions(dtype=dtype))
    return folder / "saved_model" / "1"


def build(pipeline, folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """Writes all files, unless they are there.

    Args:
        pipeline: `TextPipeline` in float32.
        folder: Where they are written, of one run only.

    Returns:
        Name -> file: "litert/<precision>" (any length), "litert_<length>/<precision>", "onnx/<precision>",
        "peer_onnx/<precision>" and "saved_model/<dtype>".
    """
    from keras_transformer.export.conversion import convert
    from keras_transformer.export.onnx_file import OFFERED, onnx_model
    from keras_transformer.export.precision import SAVED_MODEL
    from keras_transformer.export.tflite import dynamic_token_model, token_model

    model, contract = pipeline.model, contract_of(pipeline, pipeline.packer.max_length)
    groups = {"litert": (lambda files: dynamic_token_model(model, contract, files), PRECISIONS, ".tflite")}
    for length in LENGTHS:
        of_length = contract_of(pipeline, length)
        describe = lambda files, of_length=of_length: token_model(model, of_length, files)  # noqa: E731
        groups[f"litert_{length}"] = (describe, ("float32", "int8"), ".tflite")
    groups["onnx"] = (lambda files: onnx_model(model, contract, files), OFFERED, ".onnx")
    files = {
        f"{group}/{name}": folder / f"{group}_{name}{suffix}"
        for group, (_, names, suffix) in groups.items()
        for name in names
    }
    files |= {f"peer_onnx/{name}": folder / f"peer_{name}.onnx" for name in onnx_peer.PRECISIONS}
    if not (folder / DONE).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        for group, (describe, names, _) in groups.items():
            print(f"writing {group}", flush=True)
            convert([describe({name: files[f"{group}/{name}"] for name in names})], folder)
        onnx_peer.write_peers(pipeline, folder)
        (folder / DONE).write_text(json.dumps({name: path.name for name, path in files.items()}, indent=1) + "\n")
    return files | {f"saved_model/{dtype}": saved_model(pipeline, folder, dtype) for dtype in SAVED_MODEL}


def bytes_of(path: pathlib.Path) -> int:
    """Returns the size of a file, or of all files of a folder."""
    return sum(part.stat().st_size for part in (path.rglob("*") if path.is_dir() else [path]) if part.is_file())


def peer_logits(path: pathlib.Path, rows: list[list[int]]) -> np.ndarray:
    """Returns the logits of a file of `onnx_peer`, one row at a time."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]

    def run(row: list[int]) -> np.ndarray:
        ids = np.asarray([row], np.int64)
        return session.run(None, dict(zip(names, (ids, np.ones_like(ids), np.zeros_like(ids)), strict=True)))[0][0]

    return np.stack([run(row) for row in rows])


def measure(name: str, path: pathlib.Path, pipeline, texts, labels, expected: np.ndarray) -> dict:
    """Returns what one file holds, and how it answers.

    Args:
        name: Name of `build`.
        path: The file, or the folder of a SavedModel.
        pipeline: `TextPipeline` in float32.
        texts: Held-out texts.
        labels: Their labels.
        expected: The logits of Keras for them.
    """
    from keras_transformer.export.accuracy import compare, logits_of
    from keras_transformer.export.readers import reader_of

    entry = {"bytes": bytes_of(path)}
    if path.is_file():
        entry |= reader_of(path).describe(path)
        if reader_of(path).fixed_length(path) is not None:
            return entry
    started, contract = time.perf_counter(), contract_of(pipeline, pipeline.packer.max_length)
    if name.startswith("peer_"):
        logits = peer_logits(path, pipeline.packer.tokens(texts).to_list())
    else:
        logits = logits_of(path, pipeline, texts, contract)
    seconds = round(time.perf_counter() - started, 1)
    return entry | {"held_out": compare(logits, expected, labels, contract), "scoring_seconds": seconds}


def main(arguments: list[str] | None = None) -> int:
    """Builds, measures, prints a table and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=pathlib.Path, required=True, help="run folder")
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="where the files are written, and stay")
    parser.add_argument("--reviews", type=int, help="held-out texts for the accuracy (default: all)")
    parser.add_argument("--files", default="*", help="names or patterns, with commas")
    parser.add_argument("--output", type=pathlib.Path, default=rounds.RESULTS / "artefacts.json", help="result file")
    options = parser.parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import keras_transformer
    from keras_transformer.export.held_out import load_held_out

    pipeline = keras_transformer.load(options.run)
    held_out = load_held_out(options.run, options.reviews)
    files = build(pipeline, options.folder)
    settings = {"model": dataclasses.asdict(pipeline.model.encoder.config), "reviews": len(held_out.texts)}
    kept = rounds.Rounds(options.output, json.loads(json.dumps(settings)))
    missing = [name for name in rounds.chosen(list(files), options.files) if kept.missing(name, 0, ["file"])]
    if missing:
        cache = options.folder / f"keras_{len(held_out.texts)}.npy"
        if not cache.is_file():
            print(f"scoring {len(held_out.texts)} reviews with Keras", flush=True)
            np.save(cache, pipeline.logits(held_out.texts))
        expected = np.load(cache)
    for name in missing:
        print(f"measuring {name}", flush=True)
        kept.add(name, 0, "file", measure(name, files[name], pipeline, held_out.texts, held_out.labels, expected))
    print(f"{'':24}{'MB':>8}{'parts':>7}{'accuracy':>10}{'Keras':>8}{'lost':>7}{'other label':>13}")
    for name, entries in kept.result["rounds"].items():
        entry = entries[0]["file"]
        found = entry.get("held_out")
        row = f"{name:24}{entry['bytes'] / 1e6:8.2f}{entry.get('partitions', ''):>7}"
        if found:
            row += f"{found['score']:10.2%}{found['keras_score']:8.2%}{found['lost']:7.2f}{found['flips']:>13}"
        print(row)
    return 0


if __name__ == "__main__":
    sys.exit(main())
