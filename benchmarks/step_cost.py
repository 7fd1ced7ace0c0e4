"""What a training step costs, by length and by depth, and the share of the machine's matrix throughput that it reaches.

    python benchmarks/step_cost.py --plot=docs/step_cost.svg

A MiniLM-sized encoder with random weights, no padding, dropout 0.1, AdamW. Three sweeps:

- `length/N`: rows of 64 to 2,048 tokens, 4,096 tokens a step, float32.
- `depth/N`: 1 to 12 blocks, eight rows of 256 tokens, float32.
- `throughput/DTYPE`: six blocks, eight rows of 256 tokens; the operations of the step's matrix products in a second,
  beside those of `tf.matmul` on square matrices (`product/DTYPE`), in the same round.

What the arithmetic predicts is the plan of `keras_transformer.plan`, from the machine's calibration in the first round.
The finished measurements are kept in the result file, so that the command goes on after an interruption.
"""

import pathlib
import statistics

import plan_check
import rounds

STEPS = 5
TOKENS = 4096
LENGTHS = (64, 128, 256, 512, 1024, 2048)
DEPTHS = (1, 2, 3, 6, 9, 12)
DTYPES = ("float32", "bfloat16")
PRODUCT = 2048  # rows and columns
CASES = (
    {
        f"length/{length}": plan_check.Case(TOKENS // length, length, "minilm", sizes={"max_length": LENGTHS[-1]})
        for length in LENGTHS
    }
    | {f"depth/{depth}": plan_check.Case(8, 256, "minilm", sizes={"num_layers": depth}) for depth in DEPTHS}
    | {f"throughput/{dtype}": plan_check.Case(8, 256, "minilm", product_dtype=dtype) for dtype in DTYPES}
)
PRODUCTS = tuple(f"product/{dtype}" for dtype in DTYPES)


def product(dtype: str, smoke: bool):
    """Returns what measures one large product."""
    import tensorflow as tf

    from keras_transformer.plan.calibration import median_seconds

    size = 64 if smoke else PRODUCT
    a, b = (tf.cast(tf.random.stateless_uniform((size, size), (1, seed)), dtype) for seed in (2, 3))
    run = tf.function(lambda: tf.matmul(a, b), autograph=False)

    def measure(calls: int) -> dict:
        seconds = median_seconds(run, 0.0 if smoke else 3.0)
        return {"seconds": seconds, "gigaflops_per_second": round(2 * size**3 / seconds / 1e9, 1)}

    return measure


def prepare(name: str, smoke: bool):
    """Returns what a process does with its one case."""
    if name == plan_check.CALIBRATION:
        return lambda calls: plan_check.calibrate(smoke)
    if name in PRODUCTS:
        return product(name.partition("/")[2], smoke)
    return plan_check.prepare(CASES[name], smoke)


def summarise(kept: rounds.Rounds, smoke: bool) -> dict:
    """Returns medians over the rounds beside the plan, and the shares of the throughput."""
    machine = kept.result["rounds"][plan_check.CALIBRATION][0]["ours"]["machine"]
    summary = {}
    for name in (name for name in CASES if name in kept.result["rounds"]):
        planned = plan_check.predicted(CASES[name], machine, smoke)
        seconds = statistics.median(kept.figures(name, "ours", "seconds"))
        summary[name] = {
            "seconds": seconds,
            "predicted_seconds": planned["seconds"],
            "gigaflops": planned["gigaflops"],
            "gigaflops_per_second": round(planned["gigaflops"] / seconds, 1),
            "megabytes": statistics.median(kept.figures(name, "ours", "megabytes")),
        }
    for dtype in DTYPES:
        step, plain = f"throughput/{dtype}", f"product/{dtype}"
        if step in summary and plain in kept.result["rounds"]:
            rates = [
                summary[step]["gigaflops"] / seconds / rate
                for seconds, rate in zip(
                    kept.figures(step, "ours", "seconds"),
                    kept.figures(plain, "ours", "gigaflops_per_second"),
                    strict=False,
                )
            ]
            summary[step]["share_of_matmul"] = round(statistics.median(rates), 3)
    return summary


def draw(summary: dict, path: pathlib.Path) -> None:
    """Writes the plot of the two sweeps, measured and predicted."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "step_cost"  # the same file from the same figures
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4.2))
    for axis, sweep, label in (
        (axes[0], "length", f"tokens of a row ({TOKENS:,} tokens a step)"),
        (axes[1], "depth", "blocks (2,048 tokens a step)"),
    ):
        points = [(int(name.partition("/")[2]), entry) for name, entry in summary.items() if name.startswith(sweep)]
        x = [size for size, _ in points]
        axis.plot(x, [1000 * entry["seconds"] for _, entry in points], "o-", label="measured")
        axis.plot(x, [1000 * entry["predicted_seconds"] for _, entry in points], "s--", label="predicted by the plan")
        axis.set(xlabel=label, ylabel="milliseconds of a training step")
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
        axis.legend()
    axes[0].set_xscale("log", base=2)
    axes[0].set_xticks(LENGTHS, [str(length) for length in LENGTHS])
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def main() -> None:
    parser = rounds.parser(__doc__, "step_cost.json", rounds=3)
    parser.add_argument("--plot", type=pathlib.Path, help="also draw the sweeps to this file (.svg)")
    options = parser.parse_args()
    if options.contestant:
        rounds.serve(lambda name: prepare(name, options.smoke))
        return
    kept = rounds.Rounds(options.output, rounds.machine() | {"steps": STEPS})
    smoke = ["--smoke"] if options.smoke else []

    def start(*_: str) -> rounds.Contestant:
        return rounds.Contestant([__file__, "--contestant=ours", *smoke])

    chosen = rounds.chosen([*CASES, *PRODUCTS], options.cases)
    for count in range(1, options.rounds + 1):
        cases = [plan_check.CALIBRATION, *chosen] if count == 1 else chosen
        # Round after round over all cases, so that the sizes of a sweep share the machine's good and bad minutes.
        rounds.run(kept, count, {"all": cases}, lambda _: ["ours"], start, calls=STEPS, fresh=not options.smoke)
    kept.result["summary"] = summarise(kept, options.smoke)
    kept.save()
    for name, entry in kept.result["summary"].items():
        share = f", {entry['share_of_matmul']:.0%} of tf.matmul" if "share_of_matmul" in entry else ""
        print(
            f"{name:20s} {entry['seconds']:.3f} s, predicted {entry['predicted_seconds']:.3f} s, "
            f"{entry['gigaflops_per_second']:.0f} GFLOP/s{share}"
        )
    if options.plot is not None:
        draw(kept.result["summary"], options.plot)


if __name__ == "__main__":
    main()
