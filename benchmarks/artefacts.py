"""Files for phones side by side: size, XNNPACK partitions, latency at fixed lengths, accuracy on the held-out reviews.

    python -m benchmarks.artefacts --run=runs/imdb --onnx=model_int8.onnx

Every file is made from the model of the run with one length, and every runtime gets the same rows, one at a time. ONNX
models cannot be made here (no converter is among the pinned packages): give those to compare with by --onnx; they take
the inputs of a BERT in the order ids, mask, segments. Latency counts on a machine that does nothing else.
"""

import argparse
import json
import os
import pathlib
import platform
import sys
import tempfile
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks" / "results" / "artefacts.json"
PERCENTILES = (50, 90, 99)


def rows_of_length(pipeline, texts: list[str], length: int, count: int) -> list[list[int]]:
    """Returns rows of exactly `length` tokens, cut from the texts that are long enough."""
    rows = pipeline.packer.tokens(texts).to_list()
    long = [[*row[: length - 1], row[-1]] for row in rows if len(row) >= length]
    if not long:
        raise ValueError(f"No text has {length} tokens.")
    return [long[i % len(long)] for i in range(count)]


def time_calls(call, batches: list) -> dict[str, float]:
    """Returns percentiles of the milliseconds of one call, after three that are not counted."""
    for batch in batches[:3]:
        call(batch)
    times = []
    for batch in batches:
        start = time.perf_counter()
        call(batch)
        times.append(1000 * (time.perf_counter() - start))
    return {f"p{p}": float(value) for p, value in zip(PERCENTILES, np.percentile(times, PERCENTILES), strict=True)}


def onnx_call(path: pathlib.Path, threads: int):
    """Returns a function of a token batch that runs an ONNX model."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    inputs = [(entry.name, np.int64 if "int64" in entry.type else np.int32) for entry in session.get_inputs()]

    def call(batch):
        values = (batch[name] for name in ("input_word_ids", "input_mask", "input_type_ids"))
        fed = {name: value.astype(dtype) for (name, dtype), value in zip(inputs, values, strict=False)}
        return session.run(None, fed)[0]

    return call


def measure(pipeline, held_out, lengths, precisions, calls: int, onnx_models, folder: pathlib.Path) -> list[dict]:
    """Returns one entry for each file and ONNX model: sizes, partitions, latency and accuracy.

    Args:
        pipeline: `TextPipeline` in float32.
        held_out: `data.Examples` for the accuracy.
        lengths: Lengths of the rows whose latency is measured.
        precisions: Names of `precision.PRECISIONS`.
        calls: Calls of each latency.
        onnx_models: Paths.
        folder: Where the files are written.
    """
    from keras_transformer.export.accuracy import compare, logits_of
    from keras_transformer.export.checks import token_batch
    from keras_transformer.export.conversion import convert
    from keras_transformer.export.operators import tflite_operators, xnnpack_partitions
    from keras_transformer.export.runners import open_tflite
    from keras_transformer.export.signatures import Contract
    from keras_transformer.export.tflite import dynamic_token_model, token_model

    def contract_of(length: int) -> Contract:
        return Contract(pipeline.kind, pipeline.class_names, pipeline.temperature, pipeline.threshold, length)

    longest = pipeline.packer.max_length
    expected = pipeline.logits(held_out.texts)
    batches = {
        length: [token_batch([row], length) for row in rows_of_length(pipeline, held_out.texts, length, calls)]
        for length in lengths
    }
    conversions, files = [], []
    for length in lengths:
        paths = {name: folder / f"tokens_{length}_{name}.tflite" for name in precisions}
        conversions.append(token_model(pipeline.model, contract_of(length), paths))
        files += [(name, path, [length]) for name, path in paths.items()]
    paths = {name: folder / f"tokens_dynamic_{name}.tflite" for name in precisions}
    conversions.append(dynamic_token_model(pipeline.model, contract_of(longest), paths))
    files += [(name, path, list(lengths)) for name, path in paths.items()]
    convert(conversions, folder)

    entries = []
    for name, path, of_lengths in files:
        entry = {"file": path.name, "runtime": "LiteRT", "precision": name, "bytes": path.stat().st_size}
        entry |= {"partitions": xnnpack_partitions(path), "operators": tflite_operators(path)["builtin"], "latency": {}}
        for threads in (1, 2):
            run = open_tflite(path, threads)[1]
            for length in of_lengths:
                times = time_calls(lambda batch, run=run: run(**batch), batches[length])
                entry["latency"][f"{length} tokens, {threads} threads"] = times
        if of_lengths == list(lengths):
            logits = logits_of(path, pipeline, held_out.texts, contract_of(longest))
            entry["held_out"] = compare(logits, expected, held_out.labels, contract_of(longest))
        entries.append(entry)
    for path in onnx_models:
        entry = {"file": path.name, "runtime": "ONNX Runtime", "bytes": path.stat().st_size, "latency": {}}
        for threads in (1, 2):
            call = onnx_call(path, threads)
            for length in lengths:
                entry["latency"][f"{length} tokens, {threads} threads"] = time_calls(call, batches[length])
        entries.append(entry)
    return entries


def main(arguments: list[str] | None = None) -> int:
    """Measures, prints a table and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=pathlib.Path, required=True, help="run folder")
    parser.add_argument("--reviews", type=int, help="held-out texts for the accuracy (default: all)")
    parser.add_argument("--lengths", default="128,256", help="tokens of the timed rows (default: %(default)s)")
    parser.add_argument("--precisions", default="float32,int8,int4_table,int4", help="(default: %(default)s)")
    parser.add_argument("--calls", type=int, default=200, help="timed calls of each (default: %(default)s)")
    parser.add_argument("--onnx", type=pathlib.Path, action="append", default=[], help="an ONNX model to compare with")
    parser.add_argument("--output", type=pathlib.Path, default=RESULT, help="file to write (default: %(default)s)")
    options = parser.parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

    import ai_edge_litert.interpreter  # noqa: F401 - missing packages are named before the work
    import tensorflow as tf

    import keras_transformer
    from keras_transformer.export.held_out import load_held_out

    pipeline = keras_transformer.load(options.run)
    held_out = load_held_out(options.run, options.reviews)
    lengths = [int(length) for length in options.lengths.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        entries = measure(
            pipeline,
            held_out,
            lengths,
            options.precisions.split(","),
            options.calls,
            options.onnx,
            pathlib.Path(folder),
        )
    print(f"{'':36}{'MB':>8}{'parts':>7}{'accuracy':>10}{'Keras':>8}  latency p50, ms")
    for entry in entries:
        found = entry.get("held_out", {})
        score = f"{found['score']:10.2%}{found['keras_score']:8.2%}" if found else " " * 18
        times = "  ".join(f"{name}: {value['p50']:.1f}" for name, value in entry["latency"].items())
        print(f"{entry['file']:36}{entry['bytes'] / 1e6:8.2f}{entry.get('partitions', ''):>7}{score}  {times}")
    result = {
        "run": options.run.name,
        "held_out": len(held_out.texts),
        "calls": options.calls,
        "artefacts": entries,
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "versions": {"python": platform.python_version(), "tensorflow": tf.__version__},
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
