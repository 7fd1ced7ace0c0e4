"""Speed of what is deployed: one row of tokens in each file, and raw text to probability in batches of 32.

    python -m benchmarks.artefacts --run=runs/imdb --folder=files
    python -m benchmarks.artefact_speed --run=runs/imdb --folder=files

Every contestant has a process of its own, and they take turns. "tokens/128/1" is the latency of one row of 128 tokens
on one thread, cut from real reviews, nothing padded. "text/32" hands batches of 32 real reviews, at most 256 tokens
each, to what a user would call: our SavedModel in float32 and in bfloat16, `predict` of a keras-nlp model, and the fast
tokenizer of Hugging Face in front of transformers, ONNX Runtime and OpenVINO. It counts on a machine that does nothing
else.
"""

import argparse
import functools
import os
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np

from benchmarks import onnx_peer, rounds
from benchmarks.artefacts import LENGTHS, build, saved_model

THREADS = (1, 2)
ROWS = 60
BATCH, BATCHES, LIMIT = 32, 4, 256
LATENCY = {f"tokens/{length}/{threads}": (length, threads) for length in LENGTHS for threads in THREADS}
TEXT = "text/32"
FILES = (
    *("litert/float32", "litert/int8", "litert/int4"),
    *("onnx/float32", "onnx/int8", "peer_onnx/float32", "peer_onnx/int8"),
)
OF_LENGTH = ("litert_fixed/float32", "litert_fixed/int8")


def contestants(case: str) -> tuple[str, ...]:
    """Returns the names of those who take part in a case."""
    return tuple(SERVERS) if case == TEXT else (*OF_LENGTH, *FILES)


@functools.cache
def pipeline_of(run: pathlib.Path):
    """Returns the pipeline of a run."""
    import keras_transformer

    return keras_transformer.load(run)


@functools.cache
def reviews_of(run: pathlib.Path) -> list[str]:
    """Returns held-out reviews."""
    from keras_transformer.export.held_out import load_held_out

    return load_held_out(run, 1000).texts


def token_call(path: pathlib.Path, threads: int) -> Callable[[list[int]], np.ndarray]:
    """Returns a function of one row of token ids."""
    if path.suffix == ".onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        given = [(entry.name, np.int64 if "int64" in entry.type else np.int32) for entry in session.get_inputs()]

        def call(row):
            ids = np.asarray([row])
            values = {"ids": ids, "mask": np.ones_like(ids), "type": np.zeros_like(ids)}
            kinds = [next(kind for kind in ("mask", "type", "ids") if kind in name) for name, _ in given]
            fed = {name: values[kind].astype(dtype) for (name, dtype), kind in zip(given, kinds, strict=True)}
            return session.run(None, fed)

        return call
    from keras_transformer.export.checks import token_batch
    from keras_transformer.export.runners import open_tflite

    run = open_tflite(path, threads)[1]
    return lambda row: run(**token_batch([row], len(row)))


def prepare_tokens(options, name: str, case: str) -> Callable[[int], dict]:
    """Returns the function that times one row after the other, `ROWS` of them in each call."""
    length, threads = LATENCY[case]
    files = build(pipeline_of(options.run), options.folder)
    path = files[name.replace("litert_fixed", f"litert_{length}")]
    rows = pipeline_of(options.run).packer.tokens(reviews_of(options.run)).to_list()
    long = [[*row[: length - 1], row[-1]] for row in rows if len(row) >= length][: 5 if options.smoke else ROWS]
    call = token_call(path, threads)
    for row in long[:3]:
        call(row)

    def measure(calls: int) -> dict:
        times = []
        for row in long * calls:
            started = time.perf_counter()
            call(row)
            times.append(1000 * (time.perf_counter() - started))
        return {"rows": len(times)} | {f"p{p}": round(float(np.percentile(times, p)), 3) for p in (50, 90, 99)}

    return measure


def prepare_text(options, name: str, case: str) -> Callable[[int], dict]:
    """Returns the function that times batches of raw reviews."""
    texts = reviews_of(options.run)[: BATCH * (1 if options.smoke else BATCHES)]
    batches = [texts[i : i + BATCH] for i in range(0, len(texts), BATCH)]
    with tempfile.TemporaryDirectory() as scratch:
        call = SERVERS[name](options, pathlib.Path(scratch), name)
        answers = np.concatenate([call(batch) for batch in batches])

        def measure(calls: int) -> dict:
            started = time.perf_counter()
            for _ in range(calls):
                for batch in batches:
                    call(batch)
            seconds = time.perf_counter() - started
            return {"seconds": round(seconds, 4), "texts_per_second": round(calls * len(texts) / seconds, 2)}

        # The peers must have the same weights, and cut texts at the same place.
        expected = ours_limited(options.run).probabilities(texts)[:, 1]
        difference = float(np.abs(answers - expected).mean())
        if difference > (0.03 if name.endswith(("bfloat16", "int8")) else 0.001):
            raise RuntimeError(f"{name} gives other probabilities, by {difference:.4f} on average.")
    return measure


def limit_of(run: pathlib.Path) -> int:
    """Returns the number of tokens at which every contestant cuts a text."""
    return min(LIMIT, pipeline_of(run).packer.max_length)


@functools.cache
def ours_limited(run: pathlib.Path):
    """Returns the pipeline with texts cut at that limit."""
    from keras_transformer.pipelines import TextPipeline
    from keras_transformer.text import TextPacker

    pipeline = pipeline_of(run)
    packer = TextPacker(pipeline.packer.tokenizer, max_length=limit_of(run))
    return TextPipeline(pipeline.model, packer, pipeline.class_names, temperature=1.0)


def ours(options, scratch, name):
    from keras_transformer.export.runners import open_saved_model

    dtype = "bfloat16" if name.endswith("bfloat16") else "float32"
    serve = open_saved_model(saved_model(ours_limited(options.run), options.folder, dtype))["serving_default"]
    return lambda batch: serve(text=batch)["probabilities"][:, 1]


def keras_nlp(options, scratch, name):
    import keras
    import keras_hub
    from safetensors.numpy import load_file, save_file

    from keras_transformer import pretrained

    pipeline = pipeline_of(options.run)
    pretrained.save_huggingface(pipeline.model.encoder, pipeline.packer, scratch / "encoder")
    # Its loader insists on a pooler, which nothing here reads.
    weights, width = scratch / "encoder" / "model.safetensors", pipeline.model.encoder.config.hidden_dim
    pooler = {"pooler.dense.weight": np.zeros((width, width), "f"), "pooler.dense.bias": np.zeros(width, "f")}
    save_file(load_file(weights) | pooler, weights, {"format": "pt"})
    backbone = keras_hub.models.BertBackbone.from_preset(str(scratch / "encoder"))
    tokenizer = keras_hub.models.BertTokenizer.from_preset(str(scratch / "encoder"))
    preprocess = keras_hub.models.BertTextClassifierPreprocessor(tokenizer, sequence_length=limit_of(options.run))
    # Our run pools by the mean: its head on keras-nlp's backbone.
    states = backbone.output["sequence_output"]
    mask = keras.ops.cast(backbone.input["padding_mask"], "float32")[..., None]
    pooled = keras.ops.sum(states * mask, axis=1) / keras.ops.sum(mask, axis=1)
    logits = keras.layers.Dense(2, name="head")(pooled)
    model = keras.Model(backbone.input, keras.ops.softmax(logits))
    model.get_layer("head").set_weights([np.array(weight) for weight in pipeline.model.head.weights])
    for layer in model._flatten_layers():
        # The preset knows one form of GELU only, and MiniLM has the exact one.
        if getattr(layer, "activation", None) is not None and "gelu" in str(layer.activation):
            layer.activation = lambda x: keras.activations.gelu(x, approximate=False)
    model.make_predict_function(force=True)
    return lambda batch: model.predict(preprocess(batch), verbose=0)[:, 1]


def _tokenizer(options, scratch):
    import transformers

    pipeline_of(options.run).packer.save(scratch / "tokenizer")
    tokenizer = transformers.BertTokenizerFast(str(scratch / "tokenizer" / "vocab.txt"), do_lower_case=True)
    how = {"truncation": True, "max_length": limit_of(options.run), "padding": True}
    return lambda batch, tensors: tokenizer(batch, return_tensors=tensors, **how)


def _positive(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (powers / powers.sum(axis=1, keepdims=True))[:, 1]


def hugging_face(options, scratch, name):
    import torch

    model, tokenize = onnx_peer.torch_model(pipeline_of(options.run), scratch / "encoder"), _tokenizer(options, scratch)
    # Its fastest attention, which the fusions of ONNX Runtime do not know.
    model.encoder.set_attn_implementation("sdpa")
    if name.endswith("bfloat16"):
        model = model.bfloat16()

    def call(batch):
        with torch.inference_mode():
            logits = model(**tokenize(batch, "pt")).float()
        return torch.softmax(logits, dim=1)[:, 1].numpy()

    return call


def onnx(options, scratch, name):
    import onnxruntime

    tokenize = _tokenizer(options, scratch)
    path = build(pipeline_of(options.run), options.folder)[f"peer_onnx/{name.rpartition('_')[2]}"]
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]

    def call(batch):
        encoded = tokenize(batch, "np")
        return _positive(session.run(None, {given: encoded[given].astype(np.int64) for given in names})[0])

    return call


def openvino(options, scratch, name):
    import openvino as ov

    tokenize = _tokenizer(options, scratch)
    core = ov.Core()
    # Of the graph before ONNX Runtime's fusions, whose operators only it knows.
    model = core.read_model(onnx_peer.write_plain(pipeline_of(options.run), scratch / "plain"))
    precision = {"float32": "f32", "bfloat16": "bf16"}[name.rpartition("_")[2]]
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"})
    names = [given.any_name for given in compiled.inputs]

    def call(batch):
        encoded = tokenize(batch, "np")
        return _positive(compiled({given: encoded[given].astype(np.int64) for given in names})[0].astype(np.float32))

    return call


SERVERS = {
    "ours": ours,
    "ours_bfloat16": ours,
    "keras_nlp": keras_nlp,
    "hugging_face": hugging_face,
    "hugging_face_bfloat16": hugging_face,
    "onnx_float32": onnx,
    "onnx_int8": onnx,
    "openvino_float32": openvino,
    "openvino_bfloat16": openvino,
}
"""Name -> function of (options, a folder, the name) that returns a function from texts to probabilities."""


def main() -> None:
    parser: argparse.ArgumentParser = rounds.parser(__doc__, "artefact_speed.json", rounds=5)
    parser.add_argument("--run", type=pathlib.Path, required=True, help="run folder")
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="folder of benchmarks.artefacts")
    options = parser.parse_args()
    if options.contestant:
        rounds.serve(lambda case: (prepare_text if case == TEXT else prepare_tokens)(options, options.contestant, case))
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    cases = rounds.chosen([*LATENCY, TEXT], options.cases)
    kept = rounds.Rounds(options.output, {"smoke": options.smoke, "limit": LIMIT} | rounds.machine())
    build(pipeline_of(options.run), options.folder)

    def start(_: str, name: str) -> rounds.Contestant:
        command = ["-m", "benchmarks.artefact_speed", f"--contestant={name}", f"--run={options.run.resolve()}"]
        command += ["--smoke"] if options.smoke else []
        return rounds.Contestant([*command, f"--folder={options.folder.resolve()}"])

    groups = {case: [case] for case in cases}
    rounds.run(kept, options.rounds, groups, lambda case: rounds.chosen(contestants(case), options.contestants), start)
    summary = {}
    for case in kept.result["rounds"]:
        field = "texts_per_second" if case == TEXT else "p50"
        summary[case] = {
            name: round(statistics.median(kept.figures(case, name, field)), 3) for name in kept.names(case)
        }
    kept.result["summary"] = summary
    kept.save()
    for case, figures in summary.items():
        print(f"{case} ({'texts/s' if case == TEXT else 'p50, ms'})")
        for name, value in sorted(figures.items(), key=lambda entry: entry[1]):
            print(f"  {name:24}{value:10.2f}")


if __name__ == "__main__":
    sys.exit(main())
