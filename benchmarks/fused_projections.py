"""Whether queries, keys and values are faster as one product than as three: forwards, and with the gradient.

    python benchmarks/fused_projections.py

The part of a block from its input to the heads, with random numbers, at the sizes of MiniLM and BERT-base:

- `separate`: three products, as `layers.MultiHeadAttention` makes them;
- `fused`: one product with a kernel of three times the width, and one transposition to heads;
- `split`: the same product, cut into three that are transposed apart;
- `joined`: one product with the three kernels put side by side at every call.

The finished rounds are kept in the result file, so that the command goes on after an interruption.
"""

import rounds

LENGTH = 256
WIDTHS = {"minilm": (384, 12), "bert-base": (768, 12)}
CASES = [
    f"{model}/{direction}/{rows}/{dtype}"
    for model in WIDTHS
    for direction in ("forward", "training")
    for rows in (256, 2048)
    for dtype in ("float32", "bfloat16")
]
CONTESTANTS = ("separate", "fused", "split", "joined")


def prepare(contestant: str, case: str):
    """Returns what measures a contestant."""
    import tensorflow as tf

    model, direction, rows, dtype = case.split("/")
    (width, heads), rows = WIDTHS[model], int(rows)
    random = tf.random.Generator.from_seed(0)
    x = random.normal((rows, width))
    upstream = random.normal((3, rows // LENGTH, heads, LENGTH, width // heads))
    count = 3 if contestant in ("separate", "joined") else 1
    kernels = [tf.Variable(random.normal((width, 3 * width // count), stddev=0.02)) for _ in range(count)]
    biases = [tf.Variable(tf.zeros(3 * width // count)) for _ in range(count)]

    def product(kernel, bias):
        y = tf.matmul(tf.cast(x, dtype), tf.cast(kernel, dtype))
        return tf.nn.bias_add(tf.cast(y, tf.float32), bias)

    def to_heads(y):
        return tf.transpose(tf.reshape(y, (-1, LENGTH, heads, width // heads)), (0, 2, 1, 3))

    def project() -> list:
        if contestant == "separate":
            return [to_heads(product(kernel, bias)) for kernel, bias in zip(kernels, biases, strict=True)]
        joined = contestant == "joined"
        y = product(tf.concat(kernels, 1), tf.concat(biases, 0)) if joined else product(kernels[0], biases[0])
        if contestant == "fused":
            y = tf.reshape(y, (-1, LENGTH, 3, heads, width // heads))
            return tf.unstack(tf.transpose(y, (2, 0, 3, 1, 4)))
        return [to_heads(part) for part in tf.split(y, 3, axis=-1)]

    def run():
        if direction == "forward":
            return project()
        with tf.GradientTape() as tape:
            tape.watch(x)
            parts = project()
        return tape.gradient(parts, [x, *kernels, *biases], output_gradients=tf.unstack(upstream))

    return rounds.timed(tf.function(run, autograph=False), warm_up=3)


def main() -> None:
    options = rounds.parser(__doc__, "fused_projections.json", rounds=3).parse_args()
    if options.contestant:
        rounds.serve(lambda case: prepare(options.contestant, case))
        return
    names = rounds.chosen(CONTESTANTS, options.contestants)
    kept = rounds.Rounds(options.output, {"length": LENGTH} | rounds.machine())

    def start(_: str, name: str) -> rounds.Contestant:
        return rounds.Contestant([__file__, f"--contestant={name}"])

    cases = rounds.chosen(CASES, options.cases)
    calls = 3 if options.smoke else 25
    rounds.run(kept, options.rounds, {"all": cases}, lambda _: names, start, calls=calls)
    kept.result["summary"] = {case: kept.ratios(case, base="separate") for case in kept.result["rounds"]}
    kept.save()
    for case, ratios in kept.result["summary"].items():
        shown = "  ".join(f"{name} {ratio['median']:.2f}" for name, ratio in ratios.items() if name != "separate")
        print(f"{case:34s} times the seconds of three products: {shown}")


if __name__ == "__main__":
    main()
