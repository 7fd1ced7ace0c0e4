"""What `python -m keras_transformer.plan` predicts beside what training steps take: time and peak memory.

    python benchmarks/plan_check.py

First the machine is calibrated, as `--machine=here` does it. Then each configuration is trained for some steps in a
process of its own, and the plan for it is made from the calibration. Nothing is fitted to these configurations: the
calibration runs plain operations and models of other sizes, and the few constants of `plan/memory.py` come from
`FITTED_TO`. Finished configurations are kept in the result file, so that the command goes on after an interruption.
Linux only.
"""

import dataclasses
import pathlib
import statistics
import time

import rounds

STEPS, SECONDS = 5, 8.0  # at least so many steps, and so long
WARM_UP = 2
WITHIN = {"time": 0.25, "memory": 0.15}
CALIBRATION = "calibration"

FITTED_TO = (
    "MiniLM (preset minilm-l6) with 2 and 6 blocks: 1x16, 16x128, 64x128 and 4x512 tokens, in float32 and bfloat16, "
    "kept and recomputed",
    "decoder, 256 wide, 1 and 4 blocks, 8,000 tokens of vocabulary: 16x128 and 32x128, in float32 and bfloat16",
    "encoder, 512 wide, 2 blocks, vocabulary 8,000: 8x512, in float32 and bfloat16, and without dropout of the weights",
    "encoders, 64 and 384 wide, 2 to 12 blocks, vocabulary 1,000, and 256 wide, 1 block, vocabulary 100,000: 1x16",
)
"""What the constants in `keras_transformer/plan/memory.py` and the transient parts of `blocks.py` were fitted to."""


@dataclasses.dataclass(frozen=True)
class Case:
    """A configuration: what `plan.sources.find` takes, and the batch."""

    examples: int
    length: int
    model: str | None = None
    kind: str | None = None
    sizes: dict = dataclasses.field(default_factory=dict)
    target_length: int | None = None
    product_dtype: str = "float32"
    recompute: bool = False

    def config(self, smoke: bool):
        """Returns the config of the model."""
        from keras_transformer.plan import find

        tiny = {"hidden_dim": 16, "num_layers": 1, "num_heads": 4, "vocabulary_size": 50} if smoke else {}
        config = find(self.model, self.kind, self.sizes | tiny)
        sides = {"encoder", "decoder"} & {field.name for field in dataclasses.fields(config)}
        changes = {side: dataclasses.replace(getattr(config, side), recompute=self.recompute) for side in sides}
        return dataclasses.replace(config, **changes or {"recompute": self.recompute})


CASES = {
    "minilm/24x96/float32": Case(24, 96, "minilm"),
    "minilm/8x256/bfloat16": Case(8, 256, "minilm", product_dtype="bfloat16"),
    "minilm/16x160/bfloat16/recompute": Case(16, 160, "minilm", product_dtype="bfloat16", recompute=True),
    "bert-base/4x256/bfloat16": Case(4, 256, "bert-base", product_dtype="bfloat16"),
    "bert-base/2x384/float32/recompute": Case(2, 384, "bert-base", recompute=True),
    "bert-small/16x64/float32": Case(16, 64, "bert-small"),
    "electra-small/8x256/bfloat16": Case(8, 256, "electra-small", product_dtype="bfloat16"),
    "scratch-encoder/32x256/float32": Case(
        32, 256, sizes={"hidden_dim": 128, "num_layers": 2, "num_heads": 4, "vocabulary_size": 20000}
    ),
    "small-decoder/6x192/bfloat16": Case(
        6,
        192,
        kind="decoder",
        sizes={"hidden_dim": 384, "num_layers": 5, "num_heads": 6, "vocabulary_size": 16000},
        product_dtype="bfloat16",
    ),
    "encoder-decoder/16x64/float32": Case(
        16,
        64,
        kind="encoder_decoder",
        sizes={"hidden_dim": 256, "num_layers": 3, "num_heads": 4, "vocabulary_size": 12000},
        target_length=48,
    ),
}


def trained(config, product_dtype: str):
    """Returns a compiled `DistributedModel`, as the recipes train it."""
    import keras

    from keras_transformer import losses, models, optimizers
    from keras_transformer.training.distributed import DistributedModel

    model, loss = models.create(config), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    if isinstance(config, models.EncoderConfig):
        model, loss = models.TextClassifier(model, num_outputs=2), losses.for_kind("single_label")
    distributed = DistributedModel(model, examples_per_step=1)
    distributed.compile(
        optimizers.create(model, learning_rate=1e-5, total_steps=10_000),
        loss,
        product_dtype=product_dtype,
        compiled_elementwise=True,
    )
    return distributed


def batch_of(config, examples: int, length: int, target_length: int | None) -> tuple:
    """Returns inputs, labels and weights: random tokens, no padding."""
    import numpy as np

    from keras_transformer import models

    random = np.random.default_rng(0)

    def tokens(prefix: str, count: int, side) -> dict:
        ids = random.integers(1, side.vocabulary_size, (examples, count)).astype("int32")
        return {f"{prefix}token_ids": ids, f"{prefix}padding_mask": np.ones_like(ids)}

    if isinstance(config, models.EncoderConfig):
        inputs = tokens("", length, config)
        labels = random.integers(0, 2, examples).astype("int32")
        return inputs | {"segment_ids": np.zeros_like(inputs["token_ids"])}, labels, None
    if isinstance(config, models.DecoderConfig):
        inputs = tokens("", length, config)
        read = inputs["token_ids"]
    else:
        inputs = tokens("encoder_", length, config.encoder) | tokens("decoder_", target_length, config.decoder)
        read = inputs["decoder_token_ids"]
    return inputs, np.roll(read, -1, axis=1), np.ones(read.shape, "float32")


def calibrate(smoke: bool) -> dict:
    """Returns the machine, and how long its calibration took."""
    from keras_transformer import plan

    started = time.perf_counter()
    machine = plan.calibrate(**{"seconds": 0.0} if smoke else {})
    return {"machine": dataclasses.asdict(machine), "seconds": round(time.perf_counter() - started, 1)}


def prepare(case: Case, smoke: bool):
    """Returns what a process does with its one case."""
    from keras_transformer import plan
    from keras_transformer.plan.process import reset_peak, resident

    def measure(calls: int) -> dict:
        # The library is loaded and has compiled something: what comes on top is the model's.
        tiny = plan.find(None, "encoder", {"hidden_dim": 32, "num_layers": 1, "num_heads": 4, "vocabulary_size": 100})
        trained(tiny, "float32").train_on_batch(*batch_of(tiny, 1, 8, None))
        library = resident()
        config = case.config(smoke)
        model = trained(config, case.product_dtype)
        # Another shape first, as batches of a pipeline have several: the graph is then traced for any of them.
        model.train_on_batch(*batch_of(config, 1, 8, 8))
        batch = batch_of(config, case.examples, case.length, case.target_length)
        reset_peak()
        for _ in range(WARM_UP):
            model.train_on_batch(*batch)
        seconds = []
        while len(seconds) < calls or sum(seconds) < (0 if smoke else SECONDS):
            started = time.perf_counter()
            model.train_on_batch(*batch)
            seconds.append(time.perf_counter() - started)
        return {
            "seconds": round(statistics.median(seconds), 4),
            "all_seconds": [round(value, 4) for value in seconds],
            "megabytes": round((resident("VmHWM") - library) / 1e6, 1),
            "library_megabytes": round(library / 1e6, 1),
            "parameters": model.model.count_params(),
        }

    return measure


def predicted(case: Case, machine: dict, smoke: bool) -> dict:
    """Returns what the plan says."""
    from keras_transformer import plan

    planned = plan.training(
        case.config(smoke),
        batch=case.examples,
        length=case.length,
        target_length=case.target_length,
        machine=plan.Machine(**machine),
        product_dtype=case.product_dtype,
    )
    return {
        "seconds": round(planned.time.total, 4),
        "megabytes": round(planned.memory.training / 1e6, 1),
        "library_megabytes": round(planned.memory.library / 1e6, 1),
        "parameters": planned.total_parameters,
        "gigaflops": round(planned.flops.total / 1e9, 3),
        "parts_of_time": {name: round(value, 4) for name, value in planned.time.parts().items()},
        "parts_of_memory": {name: round(value / 1e6, 1) for name, value in planned.memory.parts().items()},
        "moment": planned.memory.moment,
    }


def summarise(kept: rounds.Rounds, smoke: bool) -> dict:
    """Returns prediction, measurement and their ratio for each case that was measured."""
    machine = kept.result["rounds"][CALIBRATION][0]["ours"]["machine"]
    summary = {}
    for name, entries in kept.result["rounds"].items():
        if name == CALIBRATION:
            continue
        measured = {
            field: statistics.median(entry["ours"][field] for entry in entries) for field in ("seconds", "megabytes")
        }
        expected = predicted(CASES[name], machine, smoke)
        if expected["parameters"] != entries[0]["ours"]["parameters"]:
            raise ValueError(f"{name}: {expected['parameters']} parameters planned, {entries[0]['ours']['parameters']}")
        ratios = {
            "time": round(expected["seconds"] / measured["seconds"], 3),
            "memory": round(expected["megabytes"] / measured["megabytes"], 3),
        }
        summary[name] = {
            "predicted": expected,
            "measured": measured,
            "predicted_to_measured": ratios,
            "within": {kind: abs(ratio - 1) <= WITHIN[kind] for kind, ratio in ratios.items()},
        }
    return summary


def main() -> None:
    parser = rounds.parser(__doc__, "plan_check.json", rounds=1)
    parser.add_argument("--save_machine", type=pathlib.Path, help="also write the calibrated machine to this file")
    parser.add_argument("--name", default="here", help="name of the machine (default: here)")
    options = parser.parse_args()
    if options.contestant:
        rounds.serve(
            lambda name: (
                (lambda calls: calibrate(options.smoke)) if name == CALIBRATION else prepare(CASES[name], options.smoke)
            )
        )
        return
    kept = rounds.Rounds(options.output, rounds.machine() | {"steps": STEPS, "fitted_to": list(FITTED_TO)})
    smoke = ["--smoke"] if options.smoke else []

    def start(*_: str) -> rounds.Contestant:
        return rounds.Contestant([__file__, "--contestant=ours", *smoke])

    cases = [CALIBRATION, *rounds.chosen(list(CASES), options.cases)]
    rounds.run(kept, options.rounds, {"all": cases}, lambda _: ["ours"], start, calls=STEPS, fresh=True)
    kept.result["summary"] = summarise(kept, options.smoke)
    kept.save()
    if options.save_machine is not None:
        from keras_transformer import plan

        calibrated = kept.result["rounds"][CALIBRATION][0]["ours"]["machine"] | {"name": options.name}
        plan.Machine(**calibrated).save(options.save_machine)
    print("| configuration | predicted s | measured s | ratio | predicted MB | measured MB | ratio |")
    print("|---|---|---|---|---|---|---|")
    for name, entry in kept.result["summary"].items():
        print(f"| {name} | {' | '.join(cells(entry))} |")
    missed = [
        (name, kind) for name, e in kept.result["summary"].items() for kind, good in e["within"].items() if not good
    ]
    for name, kind in missed:
        print(f"{name}: {kind} is not within {WITHIN[kind]:.0%}")


def cells(entry: dict) -> list[str]:
    """Returns the figures of a row of the table in docs/plan.md."""
    shown = []
    for kind, field, digits in (("time", "seconds", 2), ("memory", "megabytes", 0)):
        shown += [f"{entry[side][field]:.{digits}f}" for side in ("predicted", "measured")]
        shown.append(f"{entry['predicted_to_measured'][kind]:.2f}")
    return shown


if __name__ == "__main__":
    main()
