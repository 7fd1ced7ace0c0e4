"""Speed and memory of fine-tuning beside the peers: one sample of real reviews, the same weights, in turn.

    python benchmarks/training_speed.py --steps=200 --rounds=5

Each round runs every contestant once, in a process of its own, on the same reviews. A step has the same budget of
tokens, padding included, dropout is 0.1, the optimizer AdamW with clipping. Two cases:

- `reviews`: texts of up to 512 tokens, each contestant with the batches that are best for it. keras-nlp is measured as
  its `BertTextClassifier.fit` comes (every text padded to the limit), and given the length buckets of our pipeline.
  Hugging Face gets the texts of our batches, which are of like length, padded to the longest of each only.
- `padded_256`: texts of up to 256 tokens, all padded to 256, where buckets help nobody.

Hugging Face runs a plain loop in PyTorch: `sdpa` attention, the fused AdamW, and bfloat16 by `torch.autocast` but for
`hugging_face_float32`. Memory is the peak of what is resident from the first step on, less what was resident before.
The finished rounds are kept in the result file, so that the command goes on after an interruption.
"""

import statistics
import time
from collections.abc import Callable

import numpy as np
import rounds

CONTESTANTS = (
    "ours",
    "ours_plain",
    "keras_nlp",
    "keras_nlp_bucketed",
    "hugging_face",
    "hugging_face_float32",
)
CASES = {"reviews": 512, "padded_256": 256}
WARM_UP_STEPS = 10
LEARNING_RATE = 5e-5


def sample(count: int) -> tuple[list[str], list[int]]:
    """Returns the same reviews of real lengths for every contestant."""
    from keras_transformer import data

    train = data.load("imdb").train
    chosen = np.random.default_rng(0).permutation(len(train))[:count]
    part = train.select(chosen)
    return part.texts, part.labels.tolist()


class Work:
    """The texts of a case and their batches.

    Args:
        case: str, one of `CASES`.
        tokens_per_step: int.
        steps: int; as many texts as fill that many steps at the limit.
    """

    def __init__(self, case: str, tokens_per_step: int, steps: int):
        from keras_transformer import data, pretrained

        self.limit = CASES[case]
        self.texts, self.labels = sample(steps * (tokens_per_step // self.limit))
        self.batch = tokens_per_step // self.limit
        self.folder = pretrained.resolve("minilm")
        self.rows = data.encode(pretrained.load_packer(self.folder, max_length=self.limit), self.texts)
        lengths = {} if case == "reviews" else {"bucket_lengths": (self.limit,)}
        self.plan = data.BatchPlan(self.rows.lengths, tokens_per_batch=tokens_per_step, seed=0, **lengths)

    def dataset(self):
        """Returns our batches, as a dataset."""
        from keras_transformer import data

        return data.make_dataset(self.rows, np.array(self.labels), None, self.plan)

    def batches(self):
        """Yields bucket length and rows of each step."""
        for step in range(self.plan.steps_per_epoch):
            yield self.plan.batch(0, step)

    def padded_tokens(self, dynamic: bool = False) -> int:
        """Returns the tokens of our batches with their padding; `dynamic`: to the longest text of each."""
        return int(
            sum(
                len(chosen) * (self.rows.lengths[chosen].max() if dynamic else length)
                for length, chosen in self.batches()
            )
        )


def ours(work: Work, plain: bool) -> tuple[Callable[[], None], Callable[[], None], int]:
    """Returns the warm-up, the timed part, and its padded tokens."""
    import keras

    from keras_transformer import losses, models, optimizers, pretrained
    from keras_transformer.training import strategies
    from keras_transformer.training.distributed import DistributedModel

    dataset = work.dataset()
    with strategies.create("one_device").scope():
        encoder = pretrained.load_encoder(work.folder, dropout=0.1, attention_dropout=0.1)
        model = models.TextClassifier(encoder, num_outputs=2)
        trained = DistributedModel(model, examples_per_step=len(work.texts) / work.plan.steps_per_epoch)
        trained.compile(
            optimizers.create(model, learning_rate=LEARNING_RATE, total_steps=10_000),
            losses.for_kind("single_label"),
            metrics=[keras.metrics.SparseCategoricalAccuracy("accuracy")],
            product_dtype="float32" if plain else "auto",
            compiled_elementwise=not plain,
        )
    return (
        lambda: trained.fit(dataset.take(WARM_UP_STEPS), verbose=0),
        lambda: trained.fit(dataset, verbose=0),
        work.padded_tokens(),
    )


def keras_nlp(work: Work, bucketed: bool) -> tuple[Callable[[], None], Callable[[], None], int]:
    """Returns the warm-up, the timed part, and its padded tokens."""
    import keras
    import keras_hub
    import tensorflow as tf

    backbone = keras_hub.models.BertBackbone.from_preset(str(work.folder), load_weights=True)
    tokenizer = keras_hub.models.BertTokenizer.from_preset(str(work.folder))
    preprocessor = keras_hub.models.BertTextClassifierPreprocessor(tokenizer, sequence_length=work.limit)
    classifier = keras_hub.models.BertTextClassifier(
        backbone, num_classes=2, preprocessor=None if bucketed else preprocessor
    )
    classifier.compile(
        optimizer=keras.optimizers.AdamW(LEARNING_RATE, weight_decay=0.01, global_clipnorm=1.0),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    if bucketed:
        dataset = work.dataset()
        tokens = work.padded_tokens()
    else:
        dataset = tf.data.Dataset.from_tensor_slices((work.texts, work.labels)).batch(work.batch)
        tokens = len(work.texts) * work.limit
    return (
        lambda: classifier.fit(dataset.take(WARM_UP_STEPS), verbose=0),
        lambda: classifier.fit(dataset, verbose=0),
        tokens,
    )


def hugging_face(work: Work, low: bool, dynamic: bool) -> tuple[Callable[[], None], Callable[[], None], int]:
    """Returns the warm-up, the timed part, and its padded tokens."""
    import torch
    import transformers

    torch.manual_seed(0)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        str(work.folder), num_labels=2, attn_implementation="sdpa"
    )
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.01, fused=True)
    batches = []
    for length, chosen in work.batches():
        rows = [torch.tensor(work.rows.row(i), dtype=torch.long) for i in chosen]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        if not dynamic:
            ids = torch.nn.functional.pad(ids, (0, length - ids.shape[1]))
        places = torch.arange(ids.shape[1])
        mask = (places < torch.tensor([len(row) for row in rows])[:, None]).long()
        batches.append((ids, mask, torch.tensor([work.labels[i] for i in chosen])))

    def train(part) -> None:
        for ids, mask, labels in part:
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cpu", torch.bfloat16, enabled=low):
                loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()

    return lambda: train(batches[:WARM_UP_STEPS]), lambda: train(batches), work.padded_tokens(dynamic)


def run_contestant(name: str, case: str, tokens_per_step: int, steps: int) -> dict:
    """Trains and returns the seconds, texts, tokens and megabytes of the timed steps."""
    from keras_transformer.plan.process import reset_peak, resident

    work = Work(case, tokens_per_step, steps)
    if name.startswith("hugging_face"):
        warm_up, train, tokens = hugging_face(work, not name.endswith("float32"), case == "reviews")
    else:
        import keras

        keras.utils.set_random_seed(0)
        make = keras_nlp if name.startswith("keras_nlp") else ours
        warm_up, train, tokens = make(work, name.endswith(("plain", "bucketed")))
    reset_peak()
    before = resident()
    warm_up()
    started = time.perf_counter()
    train()
    return {
        "seconds": time.perf_counter() - started,
        "texts": len(work.texts),
        "padded_tokens": tokens,
        "real_tokens": int(work.rows.lengths.sum()),
        "megabytes": round((resident("VmHWM") - before) / 1e6, 1),
    }


def main() -> None:
    parser = rounds.parser(__doc__, "training_speed.json", rounds=5)
    parser.add_argument("--steps", type=int, default=200, help="steps of keras-nlp in a round (default 200)")
    parser.add_argument("--tokens_per_step", type=int, default=2048, help="padding included (default 2048)")
    options = parser.parse_args()
    if options.smoke:
        options.steps = WARM_UP_STEPS
    if options.contestant:
        rounds.serve(
            lambda case: lambda calls: run_contestant(options.contestant, case, options.tokens_per_step, options.steps)
        )
        return
    names = rounds.chosen(CONTESTANTS, options.contestants)
    settings = {"steps": options.steps, "tokens_per_step": options.tokens_per_step}
    kept = rounds.Rounds(options.output, settings | rounds.machine())

    def start(_: str, name: str) -> rounds.Contestant:
        command = [__file__, f"--contestant={name}", f"--steps={options.steps}"]
        return rounds.Contestant([*command, f"--tokens_per_step={options.tokens_per_step}"])

    def contestants(case: str) -> list[str]:
        return [name for name in names if case == "reviews" or not name.endswith("bucketed")]

    rounds.run(
        kept,
        options.rounds,
        {case: [case] for case in rounds.chosen(CASES, options.cases)},
        contestants,
        start,
        fresh=True,
    )
    kept.result["summary"] = {}
    for case in kept.result["rounds"]:
        # Within a round, so that a slow minute of the machine hits all.
        kept.result["summary"][case] = {
            "texts_per_second": {
                name: statistics.median(
                    entry[name]["texts"] / entry[name]["seconds"]
                    for entry in kept.result["rounds"][case]
                    if name in entry
                )
                for name in kept.names(case)
            },
            "times_our_seconds": kept.ratios(case),
            "times_our_megabytes": kept.ratios(case, "megabytes"),
        }
        for name, speed in kept.result["summary"][case]["texts_per_second"].items():
            print(f"{case:12s} {name:20s} {speed:6.2f} texts/s")
    kept.save()


if __name__ == "__main__":
    main()
