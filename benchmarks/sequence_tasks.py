"""Do the models learn? Copy, reverse and sort sequences of 5 to 20 symbols out of 50, to the last symbol.

    python benchmarks/sequence_tasks.py

Trains an encoder-decoder and a decoder on each task, by plain `model.fit`, until 200 validation sequences come out
right three times in a row or the steps are used up, then generates answers to 1,000 sequences of no batch and
counts those that are right in every symbol. Finished cases are kept in the result file, so that the command goes on
after an interruption.
"""

import argparse
import json
import os
import pathlib
import platform
import sys
import time

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
RESULT = HERE / "results" / "sequence_tasks.json"
PADDING, START, STOP, FIRST_SYMBOL = 0, 1, 2, 3
SYMBOLS, SHORTEST, LONGEST = 50, 5, 20
TASKS = {"copy": lambda s: s, "reverse": lambda s: s[::-1], "sort": np.sort}
KINDS = ("encoder_decoder", "decoder")
BATCH = 128


def draw(count: int, seed: int, sizes: tuple[int, int, int]) -> list[np.ndarray]:
    """Returns random sequences; `sizes` are the number of symbols and the least and largest length."""
    symbols, shortest, longest = sizes
    rng = np.random.default_rng(seed)
    return [
        rng.integers(FIRST_SYMBOL, FIRST_SYMBOL + symbols, rng.integers(shortest, longest + 1)) for _ in range(count)
    ]


def padded(sequences: list, length: int) -> np.ndarray:
    """Returns the sequences as rows of int32, filled with padding on the right."""
    rows = np.full((len(sequences), length), PADDING, "int32")
    for row, sequence in zip(rows, sequences, strict=True):
        row[: len(sequence)] = sequence
    return rows


def batch(kind: str, task: str, sources: list, longest: int) -> tuple[dict, np.ndarray, np.ndarray]:
    """Returns inputs, labels, and weights that are 1 where an answer is to be predicted."""
    answers = [TASKS[task](source) for source in sources]
    if kind == "decoder":
        full = [np.concatenate([s, [START], a, [STOP]]) for s, a in zip(sources, answers, strict=True)]
        rows = padded(full, 2 * longest + 2)
        inputs = {"token_ids": rows[:, :-1], "padding_mask": (rows[:, :-1] != PADDING).astype("int32")}
        place = np.arange(rows.shape[1] - 1)[None]
        lengths = np.array([len(s) for s in sources])[:, None]
        weights = (place >= lengths) & (rows[:, 1:] != PADDING)
        return inputs, rows[:, 1:], weights.astype("float32")
    source = padded(sources, longest)
    target = padded([np.concatenate([[START], a, [STOP]]) for a in answers], longest + 2)
    inputs = {
        "encoder_token_ids": source,
        "encoder_padding_mask": (source != PADDING).astype("int32"),
        "decoder_token_ids": target[:, :-1],
        "decoder_padding_mask": (target[:, :-1] != PADDING).astype("int32"),
    }
    return inputs, target[:, 1:], (target[:, 1:] != PADDING).astype("float32")


def build(kind: str, symbols: int, longest: int, hidden_dim: int, steps: int):
    """Returns a compiled model of two blocks a side."""
    import keras

    from keras_transformer import models, optimizers
    from keras_transformer.layers import AttentionConfig, FeedForwardConfig

    sizes = {
        "vocabulary_size": FIRST_SYMBOL + symbols,
        "hidden_dim": hidden_dim,
        "num_layers": 2,
        "max_length": 2 * longest + 2,
        "position": "learned",
        "residual": "pre_norm",
        "dropout": 0.0,
        "attention": AttentionConfig(4, dropout=0.0),
        "feed_forward": FeedForwardConfig(4 * hidden_dim, "gelu"),
    }
    if kind == "decoder":
        config = models.DecoderConfig(**sizes)
    else:
        config = models.EncoderDecoderConfig(
            models.EncoderConfig(num_segments=0, **sizes), models.DecoderConfig(cross_attention=True, **sizes)
        )
    model = models.create(config)
    model.compile(
        optimizers.AdamW(optimizers.LinearWarmupDecay(2e-3, steps, steps // 20), weight_decay=0.0, global_clipnorm=1.0),
        {"logits": keras.losses.SparseCategoricalCrossentropy(from_logits=True)},
    )
    return model


def exact(model, kind: str, task: str, sources: list, longest: int) -> float:
    """Returns the share of the sequences whose generated answer is right in every symbol."""
    from keras_transformer.generation import generate

    options = {"max_new_tokens": longest + 1, "stop_token_ids": [STOP]}
    if kind == "decoder":
        prompts = [[*source.tolist(), START] for source in sources]
    else:
        prompts, options["start_token_id"] = [source.tolist() for source in sources], START
    given = [
        row for i in range(0, len(prompts), 200) for row in generate(model, prompts[i : i + 200], **options).to_lists()
    ]
    right = [[*TASKS[task](source).tolist(), STOP] == row for source, row in zip(sources, given, strict=True)]
    return float(np.mean(right))


def learn(
    kind: str,
    task: str,
    sizes: tuple[int, int, int] = (SYMBOLS, SHORTEST, LONGEST),
    hidden_dim: int = 128,
    steps: int = 6000,
    tests: int = 1000,
    every: int = 250,
) -> dict:
    """Trains on fresh sequences and returns the share of unseen ones that come out right."""
    import keras
    import tensorflow as tf

    longest = sizes[2]
    keras.utils.set_random_seed(0)
    model = build(kind, sizes[0], longest, hidden_dim, steps)
    held_out = {tuple(s) for seed in (1, 2) for s in draw(tests, seed, sizes)}

    def batches():
        for step in range(steps):
            sources = [s for s in draw(BATCH, 100 + step, sizes) if tuple(s) not in held_out]
            inputs, labels, weights = batch(kind, task, sources, longest)
            # Keras divides by the number of places: make it the mean over the answers.
            yield inputs, {"logits": labels}, {"logits": weights * weights.size / weights.sum()}

    example = next(batches())
    signature = tf.nest.map_structure(lambda x: tf.TensorSpec([None, *x.shape[1:]], x.dtype), example)
    dataset = iter(tf.data.Dataset.from_generator(batches, output_signature=signature).prefetch(2))
    started, right, done = time.perf_counter(), 0, 0
    while done < steps and right < 3:
        size = min(every, steps - done)
        part = tf.data.Dataset.from_generator(
            lambda size=size: (next(dataset) for _ in range(size)), output_signature=signature
        )
        model.fit(part, verbose=0)
        done += size
        share = exact(model, kind, task, draw(200, 1, sizes), longest)
        right = right + 1 if share == 1 else 0
        print(f"  {task}, {kind}: step {done}, {share:.1%} of the validation sequences exact", flush=True)
    seconds = time.perf_counter() - started
    return {
        "exact": exact(model, kind, task, draw(tests, 2, sizes), longest),
        "sequences": tests,
        "steps": done,
        "seconds": round(seconds, 1),
        "parameters": model.count_params(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=6000, help="most steps of a case (default %(default)s)")
    parser.add_argument("--output", type=pathlib.Path, default=RESULT, help="result file (default: %(default)s)")
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.path.insert(0, str(HERE.parent))
    settings = {"steps": options.steps, "symbols": SYMBOLS, "lengths": [SHORTEST, LONGEST], "batch": BATCH}
    result = {"settings": settings, "machine": f"{platform.machine()}, {os.cpu_count()} CPUs", "cases": {}}
    if options.output.is_file():
        before = json.loads(options.output.read_text())
        if before["settings"] == settings:
            result = before
    options.output.parent.mkdir(parents=True, exist_ok=True)
    for kind in KINDS:
        for task in TASKS:
            name = f"{task}, {kind}"
            if name not in result["cases"]:
                result["cases"][name] = learn(kind, task, steps=options.steps)
                options.output.write_text(json.dumps(result, indent=1) + "\n")
            case = result["cases"][name]
            print(
                f"{name:24} {case['exact']:7.1%} exact after {case['steps']} steps, {case['seconds']:.0f} s", flush=True
            )


if __name__ == "__main__":
    main()
