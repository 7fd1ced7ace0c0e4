"""What each choice of the fast path is worth: the same training with one of them undone at a time.

    python benchmarks/ablation.py --rounds=3

MiniLM is fine-tuned on one sample of real reviews. Case `speed`: seconds for the same texts, with dropout. Case
`curve`: the loss of every step without dropout, so that all contestants would have the same one but for rounding. Each
contestant undoes, or adds, one thing; what it is stands in `CHOICES`. Every measurement has a process of its own.
"""

import dataclasses
import statistics
import time

import numpy as np
import rounds
import training_speed

LIMIT, TOKENS = 512, 2048
SMOKE_TEXTS, SMOKE_LIMIT, SMOKE_TOKENS = 12, 64, 256


@dataclasses.dataclass(frozen=True)
class Choice:
    """A variant of the training.

    Args:
        what: str, what is other than in `ours`.
        compile: dict, arguments of `DistributedModel.compile`.
        environment: dict of str, variables of the process.
        buckets: bool, whether batches are of like lengths; else all are padded to the limit.
        packing: bool, whether several texts share a row.
        optimizer: str, `"ours"` or `"keras"`.
        dropout: float.
    """

    what: str
    compile: dict = dataclasses.field(default_factory=dict)
    environment: dict = dataclasses.field(default_factory=dict)
    buckets: bool = True
    packing: bool = False
    optimizer: str = "ours"
    dropout: float = 0.1


def _keras(*names: str) -> dict:
    return {"KERAS_TRANSFORMER_KERAS_OPS": ",".join(names)}


CHOICES = {
    "ours": Choice("as the recipes train"),
    "float32": Choice("products in float32", {"product_dtype": "float32"}),
    "plain": Choice("nothing between the products compiled", {"compiled_elementwise": False}),
    "float32_plain": Choice("neither", {"compiled_elementwise": False, "product_dtype": "float32"}),
    "float32_plain_keras": Choice(
        "neither, and all primitives by keras.ops",
        {"compiled_elementwise": False, "product_dtype": "float32"},
        _keras("all"),
    ),
    "keras_dense": Choice("products of three dimensions, by keras.ops", environment=_keras("dense")),
    "keras_attention": Choice("attention by keras.ops", environment=_keras("attention")),
    "keras_norm": Choice("norms by keras.ops", environment=_keras("layer_norm")),
    "keras_dropout": Choice("dropout by keras.random", environment=_keras("dropout")),
    "keras_adamw": Choice("keras.optimizers.AdamW", optimizer="keras"),
    "no_dropout": Choice("no dropout at all", dropout=0.0),
    "xla": Choice("XLA compiles the whole step", {"jit_compile": True, "compiled_elementwise": False}),
    "eight_steps": Choice("eight steps in a call", {"steps_per_execution": 8}),
    "one_thread": Choice("one thread per operation", environment={"TF_NUM_INTRAOP_THREADS": "1"}),
    "one_operation": Choice("one operation at a time", environment={"TF_NUM_INTEROP_THREADS": "1"}),
    "no_onednn": Choice("without oneDNN", environment={"TF_ENABLE_ONEDNN_OPTS": "0"}),
    "no_buckets": Choice("every text padded to the limit", buckets=False),
    "packing": Choice("several texts in a row", buckets=False, packing=True),
}
# The loss of these differs by more than rounding: other batches, or other numbers.
WITHOUT_CURVE = ("no_dropout", "no_buckets", "packing", "eight_steps", "one_thread", "one_operation")


def prepare(choice: Choice, case: str, texts: int, limit: int, tokens: int):
    """Returns what measures a case."""
    import keras

    from keras_transformer import data, losses, models, optimizers, pretrained
    from keras_transformer.training import strategies
    from keras_transformer.training.distributed import DistributedModel

    folder = pretrained.resolve("minilm")
    samples, labels = training_speed.sample(texts)
    rows = data.encode(pretrained.load_packer(folder, max_length=limit), samples)
    make = data.PackedPlan if choice.packing else data.BatchPlan
    options = {"row_length": limit} if choice.packing else {} if choice.buckets else {"bucket_lengths": (limit,)}
    plan = make(rows.lengths, tokens_per_batch=tokens, seed=0, **options)
    dataset = data.make_dataset(rows, np.array(labels), None, plan)
    dropout = 0.0 if case == "curve" else choice.dropout
    keras.utils.set_random_seed(0)
    with strategies.create("one_device").scope():
        encoder = pretrained.load_encoder(folder, dropout=dropout, attention_dropout=dropout)
        model = models.TextClassifier(encoder, num_outputs=2, dropout=dropout)
        trained = DistributedModel(model, examples_per_step=len(rows) / plan.steps_per_epoch)
        if choice.optimizer == "keras":
            optimizer = keras.optimizers.AdamW(5e-5, weight_decay=0.01, global_clipnorm=1.0, epsilon=1e-6)
        else:
            optimizer = optimizers.AdamW(5e-5, weight_decay=0.01, global_clipnorm=1.0)
        defaults = {"product_dtype": "auto", "compiled_elementwise": True}
        trained.compile(optimizer, losses.for_kind("single_label"), **defaults | choice.compile)

    losses_seen = []

    class Losses(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            self.model.reset_metrics()

        def on_train_batch_end(self, batch, logs=None):
            losses_seen.append(float(logs["loss"]))

    def measure(calls: int) -> dict:
        if case == "curve":
            trained.fit(dataset, verbose=0, shuffle=False, callbacks=[Losses()])
            return {"seconds": 0.0, "all_losses": losses_seen}
        trained.fit(dataset, verbose=0, shuffle=False)  # compiles every shape
        started = time.perf_counter()
        trained.fit(dataset, verbose=0, shuffle=False)
        return {"seconds": round(time.perf_counter() - started, 2), "texts": len(rows), "steps": plan.steps_per_epoch}

    return measure


def main() -> None:
    parser = rounds.parser(__doc__, "ablation.json", rounds=3)
    parser.add_argument("--texts", type=int, default=160, help="reviews of a measurement (default 160)")
    options = parser.parse_args()
    sizes = options.texts, LIMIT, TOKENS
    if options.smoke:
        sizes = SMOKE_TEXTS, SMOKE_LIMIT, SMOKE_TOKENS
    if options.contestant:
        rounds.serve(lambda case: prepare(CHOICES[options.contestant], case, *sizes))
        return
    names = rounds.chosen(CHOICES, options.contestants)
    settings = dict(zip(("texts", "limit", "tokens_per_step"), sizes, strict=True))
    kept = rounds.Rounds(options.output, settings | rounds.machine())

    def start(_: str, name: str) -> rounds.Contestant:
        command = [__file__, f"--contestant={name}", f"--texts={options.texts}", *["--smoke"] * options.smoke]
        return rounds.Contestant(command, environment=CHOICES[name].environment)

    def contestants(case: str) -> list[str]:
        return [name for name in names if case == "speed" or name not in WITHOUT_CURVE]

    for case in rounds.chosen(["speed", "curve"], options.cases):
        count = options.rounds if case == "speed" else 1
        rounds.run(kept, count, {case: [case]}, contestants, start, fresh=True)
    kept.result["choices"] = {name: choice.what for name, choice in CHOICES.items()}
    kept.result["summary"] = {"times_our_seconds": kept.ratios("speed"), "curve": curve_differences(kept)}
    kept.save()
    for name, ratio in kept.result["summary"]["times_our_seconds"].items():
        print(f"{name:22s} {ratio['median']:6.2f} ({ratio['least']:.2f} - {ratio['most']:.2f})  {CHOICES[name].what}")


def curve_differences(kept: rounds.Rounds) -> dict:
    """Returns how far the losses of the steps are from ours: the mean of the difference, and of its size."""
    entry = (kept.result["rounds"].get("curve") or [{}])[0]
    if "ours" not in entry:
        return {}
    base = entry["ours"]["all_losses"]
    result = {"ours": {"first": base[0], "last_ten": round(statistics.mean(base[-10:]), 4)}}
    for name, measured in entry.items():
        differences = np.array(measured["all_losses"]) - base
        result.setdefault(name, {})
        result[name] |= {
            "mean_difference": float(f"{differences.mean():.3g}"),
            "mean_size": float(f"{np.abs(differences).mean():.3g}"),
        }
    return result


if __name__ == "__main__":
    main()
