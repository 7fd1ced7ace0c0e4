"""Training speed beside keras-nlp: one sample of real reviews, the same weights, the same tokens per step, in turn.

    python benchmarks/training_speed.py --steps=200 --rounds=5

Each round runs every contestant once, in a process of its own, on the same reviews in the same order. A step has the
same budget of tokens, padding included. keras-nlp is measured twice: as its `BertTextClassifier.fit` comes (every text
padded to the limit), and given the length buckets of our pipeline, which shows what is left besides the buckets.
The finished rounds are kept in the result file, so that the command goes on after an interruption.
"""

import statistics
import time

import rounds

CASE = "reviews"
CONTESTANTS = ("ours", "ours_plain", "keras_nlp", "keras_nlp_bucketed")
LIMIT = 512
WARM_UP_STEPS = 10


def sample(count: int) -> tuple[list[str], list[int]]:
    """Returns the same reviews of real lengths for every contestant."""
    import numpy as np

    from keras_transformer import data

    train = data.load("imdb").train
    chosen = np.random.default_rng(0).permutation(len(train))[:count]
    part = train.select(chosen)
    return part.texts, part.labels.tolist()


def run_contestant(name: str, tokens_per_step: int, steps: int) -> dict:
    """Trains and returns the seconds, texts and padded tokens of the timed steps."""
    import keras
    import numpy as np

    from keras_transformer import data, losses, models, optimizers, pretrained

    folder = pretrained.resolve("minilm")
    # As many texts as keras-nlp takes in that many steps at the limit.
    texts, labels = sample(steps * (tokens_per_step // LIMIT))
    keras.utils.set_random_seed(0)
    clock = _Clock()
    if name.startswith("keras_nlp"):
        import keras_hub
        import tensorflow as tf

        backbone = keras_hub.models.BertBackbone.from_preset(str(folder), load_weights=True)
        tokenizer = keras_hub.models.BertTokenizer.from_preset(str(folder))
        preprocessor = keras_hub.models.BertTextClassifierPreprocessor(tokenizer, sequence_length=LIMIT)
        classifier = keras_hub.models.BertTextClassifier(
            backbone, num_classes=2, preprocessor=None if name.endswith("bucketed") else preprocessor
        )
        classifier.compile(
            optimizer=keras.optimizers.AdamW(5e-5, weight_decay=0.01, global_clipnorm=1.0),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        if name.endswith("bucketed"):
            dataset, sizes = _buckets(folder, texts, labels, tokens_per_step)
            dataset = dataset.map(lambda x, y, w: (x, y, w))
        else:
            batch = tokens_per_step // LIMIT
            dataset = tf.data.Dataset.from_tensor_slices((texts, labels)).batch(batch)
            sizes = [(batch, LIMIT)] * (len(texts) // batch)
        classifier.fit(dataset.take(WARM_UP_STEPS), verbose=0)
        classifier.fit(dataset, verbose=0, callbacks=[clock])
    else:
        from keras_transformer.training import strategies
        from keras_transformer.training.distributed import DistributedModel

        dataset, sizes = _buckets(folder, texts, labels, tokens_per_step)
        with strategies.create("one_device").scope():
            # Dropout as keras-nlp has it.
            encoder = pretrained.load_encoder(folder, dropout=0.1, attention_dropout=0.1)
            model = models.TextClassifier(encoder, num_outputs=2)
            trained = DistributedModel(model, examples_per_step=len(texts) / len(sizes))
            trained.compile(
                optimizers.create(model, learning_rate=5e-5, total_steps=10_000),
                losses.for_kind("single_label"),
                metrics=[keras.metrics.SparseCategoricalAccuracy("accuracy")],
                product_dtype="float32" if name.endswith("plain") else "auto",
                compiled_elementwise=not name.endswith("plain"),
            )
        trained.fit(dataset.take(WARM_UP_STEPS), verbose=0)
        trained.fit(dataset, verbose=0, callbacks=[clock])
    tokens = int(np.sum([rows * length for rows, length in sizes]))
    real = int(np.minimum(data.encode(pretrained.load_packer(folder, max_length=LIMIT), texts).lengths, LIMIT).sum())
    return {"seconds": clock.seconds, "texts": len(texts), "padded_tokens": tokens, "real_tokens": real}


def _buckets(folder, texts, labels, tokens_per_step):
    import numpy as np

    from keras_transformer import data, pretrained

    rows = data.encode(pretrained.load_packer(folder, max_length=LIMIT), texts)
    plan = data.BatchPlan(rows.lengths, tokens_per_batch=tokens_per_step, seed=0)
    sizes = []
    for step in range(plan.steps_per_epoch):
        length, chosen = plan.batch(0, step)
        sizes.append((len(chosen), length))
    return data.make_dataset(rows, np.array(labels), None, plan), sizes


def _Clock():
    import keras

    class Clock(keras.callbacks.Callback):
        seconds = 0.0

        def on_epoch_begin(self, epoch, logs=None):
            self.started = time.perf_counter()

        def on_epoch_end(self, epoch, logs=None):
            self.seconds = time.perf_counter() - self.started

    return Clock()


def main() -> None:
    parser = rounds.parser(__doc__, "training_speed.json", rounds=5)
    parser.add_argument("--steps", type=int, default=200, help="steps of keras-nlp in a round (default 200)")
    parser.add_argument("--tokens_per_step", type=int, default=2048, help="padding included (default 2048)")
    options = parser.parse_args()
    if options.smoke:
        options.steps = WARM_UP_STEPS
    if options.contestant:
        rounds.serve(
            lambda case: lambda calls: run_contestant(options.contestant, options.tokens_per_step, options.steps)
        )
        return
    names = rounds.chosen(CONTESTANTS, options.contestants)
    settings = {"steps": options.steps, "tokens_per_step": options.tokens_per_step, "limit": LIMIT}
    kept = rounds.Rounds(options.output, settings | rounds.machine())

    def start(_: str, name: str) -> rounds.Contestant:
        command = [__file__, f"--contestant={name}", f"--steps={options.steps}"]
        return rounds.Contestant([*command, f"--tokens_per_step={options.tokens_per_step}"])

    groups = {"minilm": rounds.chosen([CASE], options.cases)}
    rounds.run(kept, options.rounds, groups, lambda _: names, start, fresh=True)
    speeds = {
        name: statistics.median(
            entry[name]["texts"] / entry[name]["seconds"] for entry in kept.result["rounds"][CASE] if name in entry
        )
        for name in names
    }
    # Within a round, so that a slow minute of the machine hits both.
    kept.result["summary"] = {"texts_per_second": speeds, "times_our_seconds": kept.ratios(CASE)}
    kept.save()
    for name, speed in speeds.items():
        print(f"{name:20s} {speed:6.2f} texts/s")


if __name__ == "__main__":
    main()
