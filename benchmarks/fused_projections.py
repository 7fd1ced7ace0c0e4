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


class Projections:
    """One way from the input to queries, keys and values, by heads.

    Args:
        contestant: str, one of `CONTESTANTS`.
        model: str, one of `WIDTHS`.
        dtype: str, in which the products are computed.
    """

    def __init__(self, contestant: str, model: str, dtype: str):
        import tensorflow as tf

        self._contestant, self._dtype = contestant, dtype
        self.width, self.heads = WIDTHS[model]
        count = 3 if contestant in ("separate", "joined") else 1
        random, width = tf.random.Generator.from_seed(1), 3 * self.width // count
        self.kernels = [tf.Variable(random.normal((self.width, width), stddev=0.02)) for _ in range(count)]
        self.biases = [tf.Variable(tf.zeros(width)) for _ in range(count)]

    def __call__(self, x) -> list:
        """Returns queries, keys and values (batch, heads, length, width / heads), of (rows, width)."""
        import tensorflow as tf

        def product(kernel, bias):
            y = tf.matmul(tf.cast(x, self._dtype), tf.cast(kernel, self._dtype))
            return tf.nn.bias_add(tf.cast(y, tf.float32), bias)

        def to_heads(y):
            return tf.transpose(tf.reshape(y, (-1, LENGTH, self.heads, self.width // self.heads)), (0, 2, 1, 3))

        if self._contestant == "separate":
            return [to_heads(product(kernel, bias)) for kernel, bias in zip(self.kernels, self.biases, strict=True)]
        if self._contestant == "joined":
            y = product(tf.concat(self.kernels, 1), tf.concat(self.biases, 0))
        else:
            y = product(self.kernels[0], self.biases[0])
        if self._contestant == "fused":
            y = tf.reshape(y, (-1, LENGTH, 3, self.heads, self.width // self.heads))
            return tf.unstack(tf.transpose(y, (2, 0, 3, 1, 4)))
        return [to_heads(part) for part in tf.split(y, 3, axis=-1)]


def prepare(contestant: str, case: str):
    """Returns what measures a contestant."""
    import tensorflow as tf

    model, direction, rows, dtype = case.split("/")
    project, rows = Projections(contestant, model, dtype), int(rows)
    random = tf.random.Generator.from_seed(0)
    x = random.normal((rows, project.width))
    upstream = random.normal((3, rows // LENGTH, project.heads, LENGTH, project.width // project.heads))

    def run():
        if direction == "forward":
            return project(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            parts = project(x)
        return tape.gradient(parts, [x, *project.kernels, *project.biases], output_gradients=tf.unstack(upstream))

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
