"""Less work for the same accuracy: the curve of validation accuracy against training time, for each way to do less.

    python benchmarks/less_work.py

MiniLM is fine-tuned on a fixed part of real reviews, once for each variant, one after the other, each in a process of
its own; `VARIANTS` says what is other than in `baseline`. A variant of one's own is a name and recipe fields:
`--set "packed:data.packing=true"`. Seconds are those of training steps alone: every shape of a batch is compiled
before, and validations do not count. Finished variants are kept in the result file, so that the command goes on after
an interruption; the plot is drawn anew from it every time.
"""

import pathlib
import statistics
import tempfile
import time

import rounds

BASE = (
    "data.max_length=256",
    "data.truncation=head_tail",
    "train.epochs=1",
    "train.tokens_per_batch=2048",
    "train.patience=none",
    "optimizer.layer_decay=0.9",
)
SIZES = ("data.train_examples=2000", "data.validation_examples=1000", "train.validations_per_epoch=4")
SMOKE = (
    *("data.train_examples=24", "data.validation_examples=12", "data.max_length=32", "train.tokens_per_batch=128"),
    *("train.validations_per_epoch=2", "train.length_curriculum="),
)
VARIANTS = {
    "baseline": (),
    "no_layer_decay": ("optimizer.layer_decay=1",),
    "frozen_2": ("train.frozen_layers=2",),
    "frozen_4": ("train.frozen_layers=4",),
    "lora_8": ("train.lora_rank=8", "optimizer.learning_rate=1e-3"),
    "length_curriculum": ("train.length_curriculum=64:0.3,128:0.6",),
    "ema": ("train.ema_decay=0.98",),
    "sparse_embeddings": ("optimizer.sparse_embeddings=true",),
    "accumulation": ("train.tokens_per_batch=512", "train.accumulation_steps=4"),
}


def prepare(settings: list[str]):
    """Returns what trains a variant and measures its curve."""
    from keras_transformer.training import RunFolder, load_recipe, strategies
    from keras_transformer.training.cluster import Cluster
    from keras_transformer.training.phases import Work

    recipe = load_recipe("imdb").override(*settings)

    def measure(_: int) -> dict:
        with tempfile.TemporaryDirectory() as folder, RunFolder(pathlib.Path(folder) / "run").open(recipe) as run:
            work = Work(recipe, run, Cluster(strategies.create("one_device")), None, False, 10**9, 1e9)
            fit = work.fit
            compile_shapes(fit)
            return curve(fit)

    return measure


def compile_shapes(fit) -> None:
    """Takes one step of every shape that will come, then puts everything back."""
    from keras_transformer.training import state

    before = state.capture(fit.model)
    seen = set()

    def is_new(inputs, *_):
        shape = tuple(inputs["token_ids"].shape)
        return shape not in seen and not seen.add(shape)

    batches = [batch for batch in fit.batches.dataset(0, 0, fit.batches.steps_per_epoch) if is_new(*batch)]
    for batch in batches:
        fit.model.fit(_dataset_of(batch), verbose=0)
    state.restore(fit.model, before)


def _dataset_of(batch):
    import tensorflow as tf

    signature = tf.nest.map_structure(lambda x: tf.TensorSpec([None] * x.shape.rank, x.dtype), batch)
    return tf.data.Dataset.from_generator(lambda: iter([batch]), output_signature=signature)


def curve(fit) -> dict:
    """Trains; returns seconds of training steps and the validation's figures at each validation."""
    validate, points, judged = fit.validate, [], 0.0

    def measured():
        nonlocal judged
        started = time.monotonic()
        found = validate()
        points.append(
            {
                "epoch": round(fit.global_step / fit.batches.steps_per_epoch, 3),
                "seconds": round(fit.state.seconds - judged, 2),
                **{name: round(float(value), 5) for name, value in found.items()},
            }
        )
        judged += time.monotonic() - started
        return found

    fit.validate = measured
    fit.run()
    variables = fit.model.trainable_variables
    return {
        "seconds": points[-1]["seconds"],
        "accuracy": points[-1]["accuracy"],
        "steps": fit.global_step,
        "trained_parameters": sum(v.shape.num_elements() for v in variables),
        "curve": points,
    }


def variants(given: list[str]) -> dict[str, tuple[str, ...]]:
    """Returns the fields of each variant, those of the command line included."""
    found = dict(VARIANTS)
    for text in given:
        name, separator, fields = text.partition(":")
        if not separator or "=" not in fields:
            raise SystemExit(f"--set takes NAME:section.field=value;section.field=value. Received: {text!r}")
        found[name] = tuple(fields.split(";"))
    return found


def summary(result: dict) -> dict:
    """Returns the medians over the rounds: time and accuracy at the end, and the time to the baseline's accuracy."""
    found = {name: [entry["run"] for entry in entries if entry] for name, entries in result["rounds"].items()}
    if not found.get("baseline"):
        return {}
    base = {field: statistics.median(run[field] for run in found["baseline"]) for field in ("seconds", "accuracy")}
    shown = {}
    for name, runs in found.items():
        reached = [
            next((p["seconds"] for p in run["curve"] if p["accuracy"] >= base["accuracy"] - 0.005), None)
            for run in runs
        ]
        seconds = statistics.median(run["seconds"] for run in runs)
        shown[name] = {
            "seconds": seconds,
            "times_baseline_seconds": round(seconds / base["seconds"], 3),
            "accuracy": statistics.median(run["accuracy"] for run in runs),
            "trained_parameters": runs[0]["trained_parameters"],
            # Within half a point, which is less than chance gives on so many reviews.
            "seconds_to_baseline_accuracy": None if None in reached else statistics.median(reached),
        }
    return shown


def draw(result: dict, path: pathlib.Path) -> None:
    """Writes the plot of all curves."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "less_work"  # the same file from the same figures
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5))
    for index, (name, entries) in enumerate(result["rounds"].items()):
        for entry in entries[:1]:
            points = entry["run"]["curve"]
            axes.plot(
                *zip(*((p["seconds"], 100 * p["accuracy"]) for p in points), strict=True),
                label=name.replace("_", " "),
                color=f"C{index % 10}",
                marker="os^vDP*X"[index % 8],
                linewidth=2.5 if name == "baseline" else 1.2,
            )
    examples = result["settings"]["sizes"][0].partition("=")[2]
    axes.set(xlabel="seconds of training steps", ylabel="validation accuracy, %", title=f"MiniLM, {examples} reviews")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def main() -> None:
    parser = rounds.parser(__doc__, "less_work.json", rounds=1)
    parser.add_argument("--set", action="append", default=[], help="one more variant, NAME:field=value;field=value")
    options = parser.parse_args()
    fields = variants(options.set)
    sizes = SMOKE if options.smoke else SIZES
    if options.contestant:  # which here is the seed of the round
        rounds.serve(lambda case: prepare([*BASE, *fields[case], *sizes, f"seed={options.contestant}"]))
        return
    kept = rounds.Rounds(options.output, {"base": list(BASE), "sizes": list(sizes)} | rounds.machine())
    again = [f"--set={text}" for text in options.set] + ["--smoke"] * options.smoke
    for index in range(options.rounds):
        for name in rounds.chosen(list(fields), options.contestants):
            if not kept.missing(name, index, ["run"]):
                continue
            process = rounds.Contestant([__file__, f"--contestant={index}", *again])
            measured = process.measure(name, 1)
            process.close()
            kept.add(name, index, "run", {"fields": list(fields[name])} | measured)
            print(f"{name:20s} {measured['seconds']:7.1f} s  accuracy {measured['accuracy']:.4f}", flush=True)
    kept.result["summary"] = summary(kept.result)
    kept.save()
    draw(kept.result, options.output.with_suffix(".svg"))
    for name, shown in kept.result["summary"].items():
        print(f"{name:20s} {shown}")


if __name__ == "__main__":
    main()
