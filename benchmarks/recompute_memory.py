"""Peak memory and time of a training step of a BERT-base-size encoder, with and without `recompute`, on the CPU.

    python benchmarks/recompute_memory.py --rounds=3

Each measurement has a process of its own. A step on a tiny batch comes first: weights, library and graph are there
then. The peak of resident memory during steps of the full size, minus the resident memory before them, is what the
step needs: activations and gradients. Linux only.
"""

import dataclasses
import statistics
import time

import libraries
import rounds

LENGTH = 512
BATCH = 2
STEPS = 2
CONTESTANTS = ("kept", "recomputed", "kept_compiled", "recomputed_compiled")


def prepare(contestant: str, size: libraries.Size, length: int):
    """Returns what a process of a contestant does with its one case."""
    import keras

    from keras_transformer import losses, models
    from keras_transformer.plan.process import reset_peak, resident
    from keras_transformer.training.distributed import DistributedModel

    config = dataclasses.replace(libraries.our_config(size), recompute=contestant.startswith("recomputed"))
    model = models.TextClassifier(models.create(config), num_outputs=2)
    trained = DistributedModel(model, examples_per_step=BATCH)
    trained.compile(
        keras.optimizers.SGD(libraries.LEARNING_RATE),
        losses.for_kind("single_label"),
        compiled_elementwise=contestant.endswith("_compiled"),
    )

    def step(batch: libraries.Batch) -> None:
        inputs = {"token_ids": batch.token_ids, "padding_mask": batch.padding_mask, "segment_ids": batch.token_ids * 0}
        trained.train_on_batch(inputs, batch.labels)

    def measure(calls: int) -> dict:
        step(libraries.Batch.draw(size, 2, 8))
        batch = libraries.Batch.draw(size, BATCH, length)
        reset_peak()
        before = resident()
        seconds = []
        for _ in range(calls):
            started = time.perf_counter()
            step(batch)
            seconds.append(time.perf_counter() - started)
        return {
            "seconds": round(min(seconds), 3),
            "first_seconds": round(seconds[0], 3),
            "megabytes": round((resident("VmHWM") - before) / 1e6, 1),
            "megabytes_before": round(before / 1e6, 1),
        }

    return lambda case: measure


def main() -> None:
    options = rounds.parser(__doc__, "recompute_memory.json", rounds=3).parse_args()
    size, length = libraries.SIZES["bert-base"], LENGTH
    if options.smoke:
        size, length = size.tiny(), 32
    if options.contestant:
        rounds.serve(prepare(options.contestant, size, length))
        return
    names = rounds.chosen(CONTESTANTS, options.contestants)
    case = f"bert-base/training/{length}"
    settings = {"size": dataclasses.asdict(size), "length": length, "batch": BATCH, "steps": STEPS}
    kept = rounds.Rounds(options.output, rounds.machine() | settings)

    def start(_: str, name: str) -> rounds.Contestant:
        return rounds.Contestant([__file__, f"--contestant={name}", *(["--smoke"] if options.smoke else [])])

    groups = {"bert-base": rounds.chosen([case], options.cases)}
    rounds.run(kept, options.rounds, groups, lambda _: names, start, calls=STEPS, fresh=True)
    entries = kept.result["rounds"][case]
    kept.result["summary"] = {
        name: {
            field: round(statistics.median(entry[name][field] for entry in entries if name in entry), 3)
            for field in ("megabytes", "seconds")
        }
        for name in names
    }
    for suffix in ("", "_compiled"):
        pair = [kept.result["summary"].get(f"{name}{suffix}") for name in ("kept", "recomputed")]
        if all(pair):
            before, after = pair
            kept.result["summary"][f"recomputed_to_kept{suffix}"] = {
                field: round(after[field] / before[field], 3) for field in ("megabytes", "seconds")
            }
    kept.save()
    for name, figures in kept.result["summary"].items():
        print(f"{name:28s} {figures}")


if __name__ == "__main__":
    main()
