"""Do the models learn? Copy, reverse and sort sequences of 5 to 20 symbols out of 50, to the last symbol.

    python benchmarks/sequence_tasks.py

Trains an encoder-decoder and a decoder on each task, by plain `model.fit` on fresh random sequences, then generates
answers to 1,000 sequences that stand in no batch and counts those that are right in every symbol. The lengths grow over
the first third of the steps. Finished cases are kept in the result file, so that the command goes on where it stopped.
"""

import argparse
import dataclasses
import itertools
import os
import pathlib
import sys
import time
from collections.abc import Iterator

import numpy as np
import rounds

PADDING, START, STOP, FIRST_SYMBOL = 0, 1, 2, 3
TASKS = {"copy": lambda s: s, "reverse": lambda s: s[::-1], "sort": np.sort}
KINDS = ("encoder_decoder", "decoder")


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is learned, by how large a model, and for how long."""

    symbols: int = 50
    shortest: int = 5
    longest: int = 20
    tests: int = 1000
    hidden_dim: int = 64
    num_layers: int = 3
    position: str = "rotary"
    batch: int = 64
    steps: int = 4500
    sort_steps: int = 9000
    sort_decoder_layers: int = 6
    learning_rate: float = 3e-3
    initializer_range: float = 0.1


def draw(setting: Setting, count: int, seed: int) -> list[np.ndarray]:
    """Returns random sequences, of all lengths alike."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(setting.shortest, setting.longest + 1, count)
    return [rng.integers(FIRST_SYMBOL, FIRST_SYMBOL + setting.symbols, length) for length in lengths]


def padded(rows: list) -> np.ndarray:
    """Returns rows of int32, filled with padding on the right."""
    result = np.full((len(rows), max(map(len, rows))), PADDING, "int32")
    for place, row in zip(result, rows, strict=True):
        place[: len(row)] = row
    return result


def prompt(source: np.ndarray) -> list[int]:
    """Returns what the encoder reads, or what the decoder goes on from; its ends tell positions by distance."""
    return [START, *source.tolist(), STOP]


def examples(kind: str, task: str, sources: list) -> tuple[dict, dict, dict]:
    """Returns inputs, labels, and weights that count the tokens of the answers only."""
    answers = [[*TASKS[task](source).tolist(), STOP] for source in sources]
    prompts = [prompt(source) for source in sources]
    if kind == "decoder":
        tokens = padded([p + a for p, a in zip(prompts, answers, strict=True)])
        unread = [len(p) - 1 for p in prompts]
        inputs = {"token_ids": tokens[:, :-1]}
    else:
        tokens = padded([[START, *answer] for answer in answers])
        unread = [0] * len(answers)
        inputs = {"encoder_token_ids": padded(prompts), "decoder_token_ids": tokens[:, :-1]}
    masks = {
        name.replace("token_ids", "padding_mask"): (ids != PADDING).astype("int32") for name, ids in inputs.items()
    }
    labels = tokens[:, 1:]
    weights = (labels != PADDING) & (np.arange(labels.shape[1]) >= np.array(unread)[:, None])
    # Keras divides by the number of places: make it the mean over the answers.
    return inputs | masks, {"logits": labels}, {"logits": (weights * (weights.size / weights.sum())).astype("float32")}


def steps_of(setting: Setting, task: str) -> int:
    """Returns how many steps a task takes: to sort is harder than to find a place."""
    return setting.sort_steps if task == "sort" else setting.steps


def layers_of(setting: Setting, kind: str, task: str) -> int:
    """Returns the number of blocks; to sort, the decoder has as many as encoder and decoder have together."""
    return setting.sort_decoder_layers if (task, kind) == ("sort", "decoder") else setting.num_layers


def batches(setting: Setting, kind: str, task: str, held_out: set) -> Iterator[tuple]:
    """Yields a batch for each step: sequences of one length, so that nothing is padding, that are not held out."""
    steps = steps_of(setting, task)
    for step in range(steps):
        rng = np.random.default_rng([3, step])
        grown = min(1.0, 3 * (step + 1) / steps)
        longest = setting.shortest + round(grown * (setting.longest - setting.shortest))
        shape = (setting.batch, rng.integers(setting.shortest, longest + 1))
        sources = rng.integers(FIRST_SYMBOL, FIRST_SYMBOL + setting.symbols, shape)
        yield examples(kind, task, [source for source in sources if tuple(source) not in held_out])


def build(setting: Setting, kind: str, task: str):
    """Returns a compiled model."""
    import keras

    from keras_transformer import models, optimizers
    from keras_transformer.layers import AttentionConfig, FeedForwardConfig

    parts = {
        "vocabulary_size": FIRST_SYMBOL + setting.symbols,
        "hidden_dim": setting.hidden_dim,
        "num_layers": layers_of(setting, kind, task),
        "max_length": 2 * setting.longest + 3,
        "position": setting.position,
        "residual": "pre_norm",
        "dropout": 0.0,
        "attention": AttentionConfig(4, dropout=0.0),
        "feed_forward": FeedForwardConfig(4 * setting.hidden_dim, "gelu"),
        "initializer_range": setting.initializer_range,
    }
    if kind == "decoder":
        config = models.DecoderConfig(**parts)
    else:
        config = models.EncoderDecoderConfig(
            models.EncoderConfig(num_segments=0, **parts), models.DecoderConfig(cross_attention=True, **parts)
        )
    model = models.create(config)
    steps = steps_of(setting, task)
    schedule = optimizers.LinearWarmupDecay(setting.learning_rate, steps, steps // 20)
    model.compile(
        optimizers.AdamW(schedule, weight_decay=0.0, beta_2=0.98, global_clipnorm=1.0),
        {"logits": keras.losses.SparseCategoricalCrossentropy(from_logits=True)},
    )
    return model


def exact(setting: Setting, model, kind: str, task: str, sources: list) -> float:
    """Returns the share of the sequences whose generated answer is right in every symbol and then stops."""
    from keras_transformer.generation import generate

    options = {"max_new_tokens": setting.longest + 1, "stop_token_ids": STOP}
    if kind == "encoder_decoder":
        options["start_token_id"] = START
    prompts = [prompt(source) for source in sources]
    parts = [generate(model, prompts[i : i + 200], **options) for i in range(0, len(prompts), 200)]
    answers = [answer for part in parts for answer in part.to_lists()]
    right = [[*TASKS[task](source).tolist(), STOP] == answer for source, answer in zip(sources, answers, strict=True)]
    return float(np.mean(right))


def learn(setting: Setting, kind: str, task: str, seed: int = 0, progress: int = 500) -> dict:
    """Trains on fresh sequences and returns the share of unseen ones that come out right."""
    import keras
    import tensorflow as tf

    from keras_transformer import ops

    keras.utils.set_random_seed(seed)
    model = build(setting, kind, task)
    validation, test = draw(setting, 200, 1), draw(setting, setting.tests, 2)
    held_out = {tuple(source) for source in validation + test}
    example = next(batches(setting, kind, task, held_out))
    dataset = tf.data.Dataset.from_generator(
        lambda: batches(setting, kind, task, held_out),
        output_signature=tf.nest.map_structure(lambda x: tf.TensorSpec([None] * 2, x.dtype), example),
    ).prefetch(2)

    def report(epoch: int, logs: dict) -> None:
        with ops.products_in("float32"):
            share, step = exact(setting, model, kind, task, validation), (epoch + 1) * progress
        print(f"  {task}, {kind}: step {step}, loss {logs['loss']:.4f}, {share:.1%} exact", flush=True)

    started = time.perf_counter()
    # Traced inside: products in bfloat16 where the processor has them.
    with ops.products_in(ops.choose_product_dtype("auto")):
        model.fit(
            dataset,
            epochs=steps_of(setting, task) // progress,
            steps_per_epoch=progress,
            shuffle=False,
            verbose=0,
            callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=report)],
        )
    seconds = time.perf_counter() - started
    return {
        "exact": exact(setting, model, kind, task, test),
        "sequences": setting.tests,
        "seconds": round(seconds, 1),
        "parameters": model.count_params(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="of the initial weights (default 0)")
    parser.add_argument("--output", type=pathlib.Path, default=rounds.RESULTS / "sequence_tasks.json")
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.path.insert(0, str(rounds.ROOT))
    setting = Setting()
    kept = rounds.Rounds(options.output, dataclasses.asdict(setting) | {"seed": options.seed} | rounds.machine())
    for task, kind in itertools.product(TASKS, KINDS):
        if kept.missing(task, 0, [kind]):
            kept.add(task, 0, kind, learn(setting, kind, task, options.seed))
        case = kept.result["rounds"][task][0][kind]
        print(f"{task}, {kind}: {case['exact']:.1%} exact, trained for {case['seconds']:.0f} s", flush=True)


if __name__ == "__main__":
    main()
