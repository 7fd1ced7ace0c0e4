"""How long a training waits for its input: the share of its time, by TensorFlow's own profiler.

    python benchmarks/input_wait.py

Each case trains for some steps as the recipes do, under the profiler:

- `reviews`: MiniLM fine-tuned on reviews in length buckets, gathered from memory.
- `packed`: the same with several texts in a row.
- `masked`: a small encoder that learns masked tokens; masks are drawn in Python, beside the training.

The waiting is what the operation that takes the next batch lasts, before the step can begin; copying it is in that. The
first steps, which compile, are left out. Finished cases are kept in the result file.
"""

import pathlib
import tempfile
import time

import numpy as np
import rounds

STEPS, WARM_UP = 40, 8
TOKENS = 2048
CASES = ("reviews", "packed", "masked")
SIZES = {"hidden_dim": 256, "num_layers": 2, "num_heads": 4, "intermediate_dim": 1024, "max_length": 512}
SMOKE_SIZES = {"hidden_dim": 16, "num_layers": 1, "num_heads": 2, "intermediate_dim": 32, "max_length": 512}
# The operation of a training step that takes the next batch; the threads that make batches have other names.
TAKING = "IteratorGetNextOp::DoCompute"


def reviews(smoke: bool, packed: bool):
    """Returns a compiled model, and a function from the number of steps to their dataset."""
    from keras_transformer import data, losses, models, optimizers, pretrained
    from keras_transformer.training.distributed import DistributedModel

    train = data.load("imdb").train
    count = 40 if smoke else 600
    folder = pretrained.resolve("minilm")
    make = data.PackedPlan if packed else data.BatchPlan
    rows = data.encode(pretrained.load_packer(folder, max_length=512), train.texts[:count])
    labels = np.asarray(train.labels[:count])
    plan = make(rows.lengths, **{"row_length": 512} if packed else {}, tokens_per_batch=TOKENS)
    if smoke:
        encoder = models.create(_encoder(SMOKE_SIZES))
    else:
        encoder = pretrained.load_encoder(folder, dropout=0.1, attention_dropout=0.1)
    model = models.TextClassifier(encoder, num_outputs=2)
    trained = DistributedModel(model, examples_per_step=len(rows) / plan.steps_per_epoch)
    trained.compile(
        optimizers.create(model, learning_rate=5e-5, total_steps=10_000),
        losses.for_kind("single_label"),
        compiled_elementwise=True,
    )
    return trained, lambda start, steps: data.make_dataset(rows, labels, None, plan, start_step=start).take(steps)


def masked(smoke: bool):
    """Returns a compiled model, and a function from the number of steps to their dataset."""
    import keras

    from keras_transformer import corpus, data, losses, models, objectives, optimizers, pretrained
    from keras_transformer.training.batches import ObjectiveBatches
    from keras_transformer.training.distributed import DistributedModel

    packer = pretrained.load_packer(pretrained.resolve("minilm"), max_length=None)
    rows = data.encode(packer, data.load("imdb").train.texts[: 60 if smoke else 1500])
    store = corpus.TokenStore.of(
        [[rows.row(i)[1:-1].tolist()] for i in range(len(rows))], packer.tokenizer.vocabulary_size
    )
    objective = objectives.MaskedTokens(store, objectives.Specials.of(packer), 256)
    encoder = models.create(_encoder(SMOKE_SIZES if smoke else SIZES))
    model = objective.create_model(encoder)
    examples = {name: float(TOKENS) * 0.15 for name in objective.outputs()}
    trained = DistributedModel(model, examples)
    trained.compile(
        optimizers.create(model, learning_rate=1e-3, total_steps=10_000),
        {name: losses.ClassificationLoss(reduction=None) for name in objective.outputs()},
        weighted_metrics={name: [keras.metrics.SparseCategoricalAccuracy("accuracy")] for name in objective.outputs()},
        compiled_elementwise=True,
    )
    batches = ObjectiveBatches(objective, TOKENS // 256)
    return trained, lambda start, steps: batches.dataset(0, start, start + steps)


def _encoder(sizes: dict):
    """Returns the configuration of a BERT of other sizes."""
    from keras_transformer import models

    return models.resized(models.preset("bert-base", pooler=False), {**sizes, "dropout": 0.1, "attention_dropout": 0.1})


def waiting(folder: pathlib.Path) -> tuple[float, int]:
    """Returns the seconds that taking batches lasted, and how many were taken, out of the profile in a folder."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    (path,) = folder.rglob("*.xplane.pb")
    space = xplane_pb2.XSpace()
    space.ParseFromString(path.read_bytes())
    seconds, count = 0.0, 0
    for plane in space.planes:
        names = {key: value.name for key, value in plane.event_metadata.items()}
        for line in plane.lines:
            found = [event.duration_ps for event in line.events if names[event.metadata_id] == TAKING]
            seconds, count = seconds + sum(found) / 1e12, count + len(found)
    return seconds, count


def measure(case: str, smoke: bool) -> dict:
    """Trains under the profiler; returns seconds, steps, and the seconds of waiting."""
    import keras
    import tensorflow as tf

    from keras_transformer.training import strategies

    keras.utils.set_random_seed(0)
    steps, warm_up = (4, 2) if smoke else (STEPS, WARM_UP)
    with strategies.create("one_device").scope():
        model, dataset = masked(smoke) if case == "masked" else reviews(smoke, packed=case == "packed")
    model.fit(dataset(0, warm_up), verbose=0, shuffle=False)
    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder)
        started = time.perf_counter()
        model.fit(dataset(warm_up, steps), verbose=0, shuffle=False)
        seconds = time.perf_counter() - started
        tf.profiler.experimental.stop()
        waited, taken = waiting(pathlib.Path(folder))
    if taken < steps:
        raise RuntimeError(f"The profile must show every batch that was taken. Received: {taken} of {steps}")
    return {
        "seconds": round(seconds, 3),
        "steps": steps,
        "seconds_waiting": round(waited, 4),
        "share_waiting": round(waited / seconds, 5),
    }


def main() -> None:
    parser = rounds.parser(__doc__, "input_wait.json", rounds=1)
    options = parser.parse_args()
    if options.contestant:
        rounds.serve(lambda case: lambda calls: measure(case, options.smoke))
        return
    kept = rounds.Rounds(options.output, {"steps": STEPS, "tokens_per_step": TOKENS} | rounds.machine())
    smoke = ["--smoke"] if options.smoke else []
    for case in rounds.chosen(CASES, options.cases):
        rounds.run(
            kept,
            options.rounds,
            {case: [case]},
            lambda _: ["ours"],
            lambda _, name: rounds.Contestant([__file__, f"--contestant={name}", *smoke]),
            fresh=True,
        )
    kept.result["summary"] = {
        case: {"share_waiting": max(kept.figures(case, "ours", "share_waiting"))} for case in kept.result["rounds"]
    }
    kept.save()
    for case, entry in kept.result["summary"].items():
        print(f"{case:10s} {entry['share_waiting']:.2%} of the time is spent waiting for input")


if __name__ == "__main__":
    main()
