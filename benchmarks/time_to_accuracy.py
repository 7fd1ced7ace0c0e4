"""Time until a fine-tuned MiniLM reaches the accuracy that keras-nlp's fit reaches, from the same 5,000 reviews.

    python benchmarks/time_to_accuracy.py

Each contestant trains once, two epochs with AdamW, warm-up and linear decay, and classifies 2,500 validation reviews
on the way: ours four times an epoch, the others twice, so that the time at which Hugging Face is seen to be as accurate
may be half an epoch too long, and ours a quarter. The clock runs in the training steps only. Each one's own settings:

- `ours`: the recipe `imdb`: layer-wise decay, length buckets, 8,192 tokens a step, learning rate 1e-4.
- `keras_nlp`: `BertTextClassifier.fit` on raw texts, padded to 512 tokens, 16 a step, learning rate 5e-5.
- `hugging_face`: PyTorch with batches of like length, padded to the longest, 16 texts a step on average, learning rate
  5e-5, `sdpa`, fused AdamW, in the faster of float32 and bfloat16 on this machine (`training_speed.py` tells).

The summary compares the last accuracies by a paired bootstrap over the reviews. Finished contestants are kept in the
result file, so that the command goes on after an interruption.
"""

import statistics
import time

import numpy as np
import rounds

LIMIT = 512
TEXTS, HELD_OUT, EPOCHS = 5000, 2500, 2
SMOKE_TEXTS, SMOKE_HELD_OUT = 16, 8
SMOKE = ("train.tokens_per_batch=1024",)  # at least as many steps as ours has points
# How often each classifies the held-out texts in an epoch.
CONTESTANTS = {"ours": 4, "keras_nlp": 2, "hugging_face": 2, "hugging_face_float32": 2}


class Work:
    """The texts that are trained on and those that are classified.

    Args:
        texts: int, reviews that are trained on.
        held_out: int, reviews that are classified.
    """

    def __init__(self, texts: int, held_out: int):
        from keras_transformer import data, pretrained
        from keras_transformer.data.splitting import subset

        splits = data.load("imdb")
        self.train = subset(splits.train, texts, seed=0)
        self.held_out = subset(splits.validation, held_out, seed=0)
        self.folder = pretrained.resolve("minilm")
        self.packer = pretrained.load_packer(self.folder, max_length=LIMIT)
        self.rows = data.encode(self.packer, self.held_out.texts)

    def hits(self, predict) -> list[int]:
        """Returns which of the held-out texts are classified correctly, given what makes logits of a dict of ids."""
        from keras_transformer import data

        def all_logits(batches):
            return np.concatenate([np.asarray(predict(inputs)) for inputs in batches])

        logits = data.predict_in_order(all_logits, self.rows)
        return (logits.argmax(1) == np.asarray(self.held_out.labels)).astype(int).tolist()


class Clock:
    """Adds up the seconds of training, and keeps what was measured between its parts.

    Args:
        epochs: int.
        points: int, measurements in an epoch.
    """

    def __init__(self, epochs: int, points: int):
        self.epochs, self.points = epochs, points
        self.seconds = 0.0
        self.curve: list[dict] = []
        self.hits: list[int] = []

    def run(self, train, judge) -> dict:
        """Trains part by part: `train(i, n)` is the i-th of n, `judge()` gives the hits."""
        parts = self.epochs * self.points
        for part in range(parts):
            started = time.perf_counter()
            train(part, parts)
            self.seconds += time.perf_counter() - started
            self.hits = judge()
            accuracy = float(np.mean(self.hits))
            epoch, seconds = (part + 1) / self.points, round(self.seconds, 1)
            self.curve.append({"epoch": epoch, "seconds": seconds, "accuracy": accuracy})
            print(self.curve[-1], flush=True)
        return {"seconds": round(self.seconds, 1), "curve": self.curve, "all_hits": self.hits}


def ours(work: Work, clock: Clock, overrides: tuple[str, ...] = ()) -> dict:
    """Trains as the recipe `imdb` does."""
    import keras
    import tensorflow as tf

    from keras_transformer import data, losses, optimizers
    from keras_transformer.training import load_recipe, preparation, strategies
    from keras_transformer.training.distributed import DistributedModel

    epochs = clock.epochs
    recipe = load_recipe("imdb").override(f"train.epochs={epochs}", *overrides)
    keras.utils.set_random_seed(0)
    rows = data.encode(work.packer, work.train.texts)
    plan = preparation.make_plan(recipe, rows)
    steps, wanted = plan.steps_per_epoch, recipe.optimizer
    with strategies.create("one_device").scope():
        model = preparation.make_model(recipe, work.packer, 2)
        trained = DistributedModel(model, examples_per_step=len(rows) / steps)
        trained.compile(
            optimizers.create(
                model,
                learning_rate=wanted.learning_rate,
                total_steps=steps * epochs,
                layer_decay=wanted.layer_decay,
            ),
            losses.for_kind("single_label"),
            product_dtype="auto",
            compiled_elementwise=True,
        )
    logits = tf.function(lambda inputs: model(inputs)["logits"], reduce_retracing=True, autograph=False)

    def train(part: int, parts: int) -> None:
        first, after = (steps * epochs * i // parts for i in (part, part + 1))
        epoch = first // steps
        dataset = data.make_dataset(rows, work.train.labels, None, plan, epoch, first - epoch * steps)
        trained.fit(dataset.take(after - first), verbose=0, shuffle=False)

    return clock.run(train, lambda: work.hits(logits))


def keras_nlp(work: Work, clock: Clock) -> dict:
    """Trains as `BertTextClassifier.fit` does."""
    import keras
    import keras_hub
    import tensorflow as tf

    from keras_transformer.optimizers import LinearWarmupDecay

    batch = 16
    steps = -(-len(work.train) // batch) * clock.epochs
    keras.utils.set_random_seed(0)
    backbone = keras_hub.models.BertBackbone.from_preset(str(work.folder), load_weights=True)
    tokenizer = keras_hub.models.BertTokenizer.from_preset(str(work.folder))
    preprocessor = keras_hub.models.BertTextClassifierPreprocessor(tokenizer, sequence_length=LIMIT)
    classifier = keras_hub.models.BertTextClassifier(backbone, num_classes=2, preprocessor=preprocessor)
    classifier.compile(
        optimizer=keras.optimizers.AdamW(LinearWarmupDecay(5e-5, steps, steps // 10), weight_decay=0.01),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    logits = tf.function(lambda inputs: classifier(inputs), reduce_retracing=True, autograph=False)
    texts, labels = np.array(work.train.texts, dtype=object), np.asarray(work.train.labels)

    def train(part: int, parts: int) -> None:
        epoch, place = divmod(part, clock.points)
        order = np.random.default_rng(epoch).permutation(len(texts))
        chosen = order[len(order) * place // clock.points : len(order) * (place + 1) // clock.points]
        classifier.fit(texts[chosen].tolist(), labels[chosen], batch_size=batch, verbose=0, shuffle=False)

    return clock.run(train, lambda: work.hits(logits))


def hugging_face(work: Work, clock: Clock, low: bool) -> dict:
    """Trains by a plain loop in PyTorch."""
    import torch
    import transformers

    from keras_transformer import data

    torch.manual_seed(0)
    rows = data.encode(work.packer, work.train.texts)
    plan = data.BatchPlan(rows.lengths, tokens_per_batch=16 * int(rows.lengths.mean()), seed=0)
    steps = plan.steps_per_epoch * clock.epochs
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        str(work.folder), num_labels=2, attn_implementation="sdpa"
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5, weight_decay=0.01, fused=True)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, steps // 10, steps)

    def train(part: int, parts: int) -> None:
        model.train()
        for step in range(steps * part // parts, steps * (part + 1) // parts):
            _, chosen = plan.batch(*divmod(step, plan.steps_per_epoch))
            ids = torch.nn.utils.rnn.pad_sequence(
                [torch.tensor(rows.row(i), dtype=torch.long) for i in chosen], batch_first=True
            )
            mask = (torch.arange(ids.shape[1]) < torch.tensor(rows.lengths[chosen])[:, None]).long()
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cpu", torch.bfloat16, enabled=low):
                labels = torch.tensor(np.asarray(work.train.labels)[chosen], dtype=torch.long)
                loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()

    def logits(inputs) -> np.ndarray:
        model.eval()
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=low):
            ids, mask = (torch.tensor(inputs[name].numpy(), dtype=torch.long) for name in ("token_ids", "padding_mask"))
            return model(input_ids=ids, attention_mask=mask).logits.float().numpy()

    return clock.run(train, lambda: work.hits(logits))


def run_contestant(name: str, texts: int, held_out: int, epochs: int, smoke: bool) -> dict:
    """Returns seconds, curve and hits."""
    work, clock = Work(texts, held_out), Clock(epochs, CONTESTANTS[name])
    if name.startswith("hugging_face"):
        return hugging_face(work, clock, not name.endswith("float32"))
    return keras_nlp(work, clock) if name == "keras_nlp" else ours(work, clock, SMOKE if smoke else ())


def difference(first: list[int], second: list[int]) -> dict:
    """Returns how much more accurate the first is, with a 95 % interval of a paired bootstrap over the texts."""
    pairs = np.array(first) - np.array(second)
    random = np.random.default_rng(0)
    means = [pairs[random.integers(0, len(pairs), len(pairs))].mean() for _ in range(2000)]
    low, high = np.quantile(means, [0.025, 0.975])
    return {"mean": round(float(pairs.mean()), 4), "low": round(float(low), 4), "high": round(float(high), 4)}


def summarise(kept: rounds.Rounds) -> dict:
    """Returns accuracies, the times until keras-nlp's last accuracy is reached, and differences to ours."""
    entries = kept.result["rounds"].get("reviews", [])
    runs = {name: [entry[name] for entry in entries if name in entry] for name in kept.names("reviews")}
    if "keras_nlp" not in runs:
        return {}
    wanted = statistics.median(run["curve"][-1]["accuracy"] for run in runs["keras_nlp"])
    peer = statistics.median(run["seconds"] for run in runs["keras_nlp"])
    summary = {"accuracy_to_reach": wanted}
    for name, found in runs.items():
        reached = [next((p["seconds"] for p in run["curve"] if p["accuracy"] >= wanted), None) for run in found]
        seconds = None if None in reached else statistics.median(reached)
        summary[name] = {
            "accuracy": statistics.median(run["curve"][-1]["accuracy"] for run in found),
            "seconds": statistics.median(run["seconds"] for run in found),
            "seconds_to_accuracy": seconds,
            "times_keras_nlp_seconds": None if seconds is None else round(seconds / peer, 3),
        }
        if name != "ours" and "ours" in runs:
            summary[name]["ours_minus_it"] = difference(runs["ours"][0]["all_hits"], found[0]["all_hits"])
    return summary


def main() -> None:
    parser = rounds.parser(__doc__, "time_to_accuracy.json", rounds=1)
    options = parser.parse_args()
    texts, held_out, epochs = (SMOKE_TEXTS, SMOKE_HELD_OUT, 1) if options.smoke else (TEXTS, HELD_OUT, EPOCHS)
    if options.contestant:
        sizes = texts, held_out, epochs, options.smoke
        rounds.serve(lambda case: lambda calls: run_contestant(options.contestant, *sizes))
        return
    names = rounds.chosen(list(CONTESTANTS), options.contestants)
    settings = {"texts": texts, "held_out": held_out, "epochs": epochs, "limit": LIMIT}
    kept = rounds.Rounds(options.output, settings | rounds.machine())
    smoke = ["--smoke"] if options.smoke else []

    def start(_: str, name: str) -> rounds.Contestant:
        return rounds.Contestant([__file__, f"--contestant={name}", *smoke])

    for name in names:  # one after the other: each is a round of its own length
        if not any(name in entry for entry in kept.result["rounds"].get("reviews", [])):
            process = start("reviews", name)
            kept.add("reviews", 0, name, process.measure("reviews", 1))
            process.close()
            kept.result["summary"] = summarise(kept)
            kept.save()
    for name, entry in kept.result.get("summary", {}).items():
        print(name, entry)


if __name__ == "__main__":
    main()
