"""Speed and memory of a masked-language-model training step beside the peers, on the same masked rows.

    python benchmarks/pretraining_speed.py --rounds=3

Reviews of the IMDB training part are cut into full rows of 256 tokens, and 15 % of the tokens are masked: the same
batches for every contestant. Two sizes: `minilm` (6 blocks of 384) with MiniLM's weights and its vocabulary of 30,522,
and `small` (4 blocks of 256, random weights, the same vocabulary). Dropout 0.1, AdamW with clipping. keras-nlp's
`BertMaskedLM` and ours compute the output product at the masked places only; Hugging Face's `BertForMaskedLM` computes
it everywhere, as its `labels` ask for. Each measurement has a process of its own. The finished rounds are kept in the
result file, so that the command goes on after an interruption.
"""

import time

import numpy as np
import rounds

LENGTH, ROWS = 256, 8
SMOKE_LENGTH, SMOKE_ROWS = 32, 2
WARM_UP = 3
LEARNING_RATE = 5e-5
CASES = ("minilm", "small")
CONTESTANTS = ("ours", "keras_nlp", "hugging_face", "hugging_face_float32")
SMALL = {"hidden_dim": 256, "num_layers": 4, "num_heads": 4, "intermediate_dim": 1024}
SMOKE_SMALL = {"hidden_dim": 32, "num_layers": 1, "num_heads": 2, "intermediate_dim": 64}


def batches(steps: int, length: int, count: int) -> list:
    """Returns inputs, labels and weights of so many steps, of `count` rows each."""
    from keras_transformer import corpus, data, objectives, pretrained

    folder = pretrained.resolve("minilm")
    packer = pretrained.load_packer(folder)
    texts = data.load("imdb").train.texts[: 40 + 12 * steps]
    rows = data.encode(packer, texts)
    documents = [[rows.row(i)[1:-1].tolist()] for i in range(len(rows))]
    store = corpus.TokenStore.of(documents, packer.tokenizer.vocabulary_size)
    objective = objectives.MaskedTokens(store, objectives.Specials.of(packer), length, crossing=True)
    return [objective.batch(0, np.arange(step * count, (step + 1) * count)) for step in range(steps)]


def ours(case: str, made: list, small: dict):
    """Returns what trains on a list of batches."""
    import keras

    from keras_transformer import losses, models, optimizers, pretrained
    from keras_transformer.training.distributed import DistributedModel

    options = {"dropout": 0.1, "attention_dropout": 0.1}
    if case == "minilm":
        encoder = pretrained.load_encoder(pretrained.resolve("minilm"), pooler=False, **options)
    else:
        config = models.resized(models.preset("bert-base", pooler=False), {**small, **options, "max_length": 512})
        encoder = models.create(config)
    model = models.MaskedLanguageModel(encoder, packed=False)
    trained = DistributedModel(model, {"masked": float(np.mean([w["masked"].sum() for _, _, w in made]))})
    trained.compile(
        optimizers.create(model, learning_rate=LEARNING_RATE, total_steps=10_000),
        {"masked": losses.ClassificationLoss(reduction=None)},
        weighted_metrics={"masked": [keras.metrics.SparseCategoricalAccuracy("accuracy")]},
        product_dtype="auto",
        compiled_elementwise=True,
    )
    return lambda part: [trained.train_on_batch(*batch) for batch in part]


def keras_nlp(case: str, small: dict):
    """Returns what trains on a list of batches."""
    import keras
    import keras_hub

    from keras_transformer import pretrained

    if case == "minilm":
        backbone = keras_hub.models.BertBackbone.from_preset(str(pretrained.resolve("minilm")), load_weights=True)
    else:
        backbone = keras_hub.models.BertBackbone(
            vocabulary_size=30522, **small, dropout=0.1, max_sequence_length=512, num_segments=2
        )
    model = keras_hub.models.BertMaskedLM(backbone, preprocessor=None)
    model.compile(
        optimizer=keras.optimizers.AdamW(LEARNING_RATE, weight_decay=0.01, global_clipnorm=1.0),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        weighted_metrics=[keras.metrics.SparseCategoricalAccuracy()],
    )

    def train(part: list) -> None:
        for inputs, labels, weights in part:
            names = {name: inputs[name] for name in ("token_ids", "segment_ids", "padding_mask")}
            names["mask_positions"] = inputs["masked_positions"]
            model.train_on_batch(names, labels["masked"], weights["masked"])

    return train


def labels_everywhere(inputs: dict, labels: dict, weights: dict) -> np.ndarray:
    """Returns the labels as Hugging Face takes them: one for each token, -100 where there is none."""
    found = np.full(inputs["token_ids"].shape, -100)
    rows, places = np.nonzero(weights["masked"])
    found[rows, inputs["masked_positions"][rows, places]] = labels["masked"][rows, places]
    return found


def hugging_face(case: str, small: dict, low: bool):
    """Returns what trains on a list of batches."""
    import torch
    import transformers

    from keras_transformer import pretrained

    torch.manual_seed(0)
    if case == "minilm":
        model = transformers.BertForMaskedLM.from_pretrained(
            str(pretrained.resolve("minilm")), attn_implementation="sdpa"
        )
    else:
        config = transformers.BertConfig(
            hidden_size=small["hidden_dim"],
            num_hidden_layers=small["num_layers"],
            num_attention_heads=small["num_heads"],
            intermediate_size=small["intermediate_dim"],
        )
        config._attn_implementation = "sdpa"
        model = transformers.BertForMaskedLM(config)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.01, fused=True)

    def train(part: list) -> None:
        for inputs, labels, weights in part:
            ids, mask = (torch.tensor(inputs[name], dtype=torch.long) for name in ("token_ids", "padding_mask"))
            wanted = torch.tensor(labels_everywhere(inputs, labels, weights), dtype=torch.long)
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cpu", torch.bfloat16, enabled=low):
                loss = model(input_ids=ids, attention_mask=mask, labels=wanted).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()

    return train


def run_contestant(name: str, case: str, steps: int, smoke: bool) -> dict:
    """Trains and returns the seconds, rows and megabytes of the timed steps."""
    from keras_transformer.plan.process import reset_peak, resident

    length, rows, small = (SMOKE_LENGTH, SMOKE_ROWS, SMOKE_SMALL) if smoke else (LENGTH, ROWS, SMALL)
    made = batches(WARM_UP + steps, length, rows)
    if name.startswith("hugging_face"):
        train = hugging_face(case, small, not name.endswith("float32"))
    else:
        import keras

        keras.utils.set_random_seed(0)
        train = keras_nlp(case, small) if name == "keras_nlp" else ours(case, made, small)
    reset_peak()
    before = resident()
    train(made[:WARM_UP])
    started = time.perf_counter()
    train(made[WARM_UP:])
    return {
        "seconds": round(time.perf_counter() - started, 3),
        "rows": steps * rows,
        "masked_tokens": int(sum(weights["masked"].sum() for _, _, weights in made[WARM_UP:])),
        "megabytes": round((resident("VmHWM") - before) / 1e6, 1),
    }


def main() -> None:
    parser = rounds.parser(__doc__, "pretraining_speed.json", rounds=3)
    parser.add_argument("--steps", type=int, default=40, help="timed steps (default 40)")
    options = parser.parse_args()
    if options.smoke:
        options.steps = 2
    if options.contestant:
        rounds.serve(lambda case: lambda calls: run_contestant(options.contestant, case, options.steps, options.smoke))
        return
    names = rounds.chosen(CONTESTANTS, options.contestants)
    length, rows = (SMOKE_LENGTH, SMOKE_ROWS) if options.smoke else (LENGTH, ROWS)
    settings = {"steps": options.steps, "rows_per_step": rows, "row_length": length}
    kept = rounds.Rounds(options.output, settings | rounds.machine())

    def start(_: str, name: str) -> rounds.Contestant:
        smoke = ["--smoke"] if options.smoke else []
        return rounds.Contestant([__file__, f"--contestant={name}", f"--steps={options.steps}", *smoke])

    cases = rounds.chosen(CASES, options.cases)
    rounds.run(kept, options.rounds, {case: [case] for case in cases}, lambda _: names, start, fresh=True)
    kept.result["summary"] = {
        case: {"times_our_seconds": kept.ratios(case), "times_our_megabytes": kept.ratios(case, "megabytes")}
        for case in kept.result["rounds"]
    }
    kept.save()
    for case, entry in kept.result["summary"].items():
        for name, ratio in entry["times_our_seconds"].items():
            memory = entry["times_our_megabytes"][name]["median"]
            print(f"{case:8s} {name:22s} {ratio['median']:.2f} times our seconds, {memory:.2f} times our memory")


if __name__ == "__main__":
    main()
