"""What word vectors are worth as the start of a small classifier: random, raw and standardised tables, frozen or not.

    python benchmarks/word_vectors.py

Skip-gram vectors are learned from the training reviews, the word pieces of the vocabulary get them, and the classifier
of the recipe `scratch`, three times as wide, is trained from there: once for each start and seed, one after the other,
each in a process of its own. The vectors of a seed are learned once and kept in the folder of temporary files;
`--vectors=FILE` takes those of a file (GloVe, word2vec) instead. Accuracies are those of the best validation, on the
validation part and on the test part; differences are to `random` of the same seed. Finished trainings are kept in the
result file, so that the command goes on after an interruption.
"""

import functools
import hashlib
import pathlib
import statistics
import tempfile
import time

import rounds

DIM = 96
SIZES = (f"model.hidden_dim={DIM}", "model.intermediate_dim=192")
SMOKE = (
    *("data.train_examples=40", "data.validation_examples=20", "data.test_examples=20", "data.max_length=48"),
    *("train.tokens_per_batch=256", "train.epochs=1"),
)
SKIP_GRAM = {"window": 5, "min_count": 5, "epochs": 5, "workers": 1}
# Start of the table, and whether it is trained.
STARTS = {
    "random": (None, True),
    "random_frozen": (None, False),
    "raw": (False, True),
    "raw_frozen": (False, False),
    "standardised": (True, True),
    "standardised_frozen": (True, False),
}


def load_vectors(texts: list[str], seed: int, smoke: bool, path: pathlib.Path | None):
    """Returns the vectors of a file, or those of the texts, which are learned once."""
    from keras_transformer.pretrained import WordVectors, train_word_vectors

    if path is not None:
        return WordVectors.load(path)
    settings = SKIP_GRAM | {"dim": DIM, "seed": seed} | ({"min_count": 1, "epochs": 1} if smoke else {})
    digest = hashlib.sha256(repr(sorted(settings.items())).encode())
    for text in texts:
        digest.update(text.encode())
    kept = pathlib.Path(tempfile.gettempdir()) / "keras_transformer_word_vectors" / f"{digest.hexdigest()[:16]}.txt.gz"
    if not kept.is_file():
        kept.parent.mkdir(exist_ok=True)
        train_word_vectors(texts, **settings).save(kept, format="word2vec")
    return WordVectors.load(kept)


def start(work, standardise: bool | None, trainable: bool, load) -> dict:
    """Puts the vectors into the new model; returns how many tokens have one."""
    from keras_transformer import pretrained
    from keras_transformer.training import preparation

    model, tokenizer = work.pipeline.model, work.pipeline.packer.tokenizer
    config = model.encoder.config
    if standardise is None:
        model.encoder.embeddings.tokens.trainable = trainable
        return {}
    table = pretrained.token_table(
        load(preparation.training_part(work.recipe, work.splits).texts, work.recipe.seed),
        tokenizer,
        config.hidden_dim,
        standardise=standardise,
        initializer_range=config.initializer_range,
        seed=work.recipe.seed,
    )
    pretrained.set_token_embeddings(model, table.matrix, table.rows, trainable)
    return table.coverage


def prepare(name: str, settings: list[str], load):
    """Returns what trains from one start and measures the accuracy."""
    from keras_transformer import data
    from keras_transformer.pipelines import score_rows
    from keras_transformer.training import RunFolder, judging, load_recipe, strategies
    from keras_transformer.training.cluster import Cluster
    from keras_transformer.training.phases import Work

    recipe = load_recipe("scratch").override(*settings)

    def accuracy(work, part) -> float:
        packer = work.pipeline.packer
        rows = data.encode(packer, part.texts)
        logits = score_rows(work.fit.model, rows, recipe.train.tokens_per_batch, packer.pad_id)
        return round(judging.measure(recipe.model.kind, logits, part.labels)["accuracy"], 5)

    def measure(_: int) -> dict:
        with tempfile.TemporaryDirectory() as folder, RunFolder(pathlib.Path(folder) / "run").open(recipe) as run:
            work = Work(recipe, run, Cluster(strategies.create("one_device")), None, False, 10**9, 1e9)
            coverage = start(work, *STARTS[name], load)
            began = time.monotonic()
            work.fit.run()
            return {
                "validation": accuracy(work, work.splits.validation),
                "test": accuracy(work, work.splits.test),
                "seconds": round(time.monotonic() - began, 1),
                "steps": work.fit.global_step,
                "trained_parameters": sum(v.shape.num_elements() for v in work.fit.model.trainable_variables),
                "coverage": {key: round(value, 4) for key, value in coverage.items()},
            }

    return measure


def summary(result: dict) -> dict:
    """Returns for each start and part the accuracy of every seed, their mean, and the differences to `random`."""
    runs = {name: [entry.get("run") for entry in entries] for name, entries in result["rounds"].items()}
    shown = {}
    for name, found in runs.items():
        shown[name] = {}
        for part in ("validation", "test"):
            accuracies = [run[part] for run in found if run]
            pairs = zip(found, runs.get("random", []), strict=False)
            differences = [round(run[part] - base[part], 5) for run, base in pairs if run and base]
            shown[name][part] = {"accuracies": accuracies, "mean": round(statistics.mean(accuracies), 5)}
            if name != "random" and differences:
                shown[name][part] |= {
                    "minus_random": differences,
                    "mean_minus_random": round(statistics.mean(differences), 5),
                    "interval_95": interval(differences),
                }
    return shown


def interval(differences: list[float]) -> list[float] | None:
    """Returns Student's interval of a mean; None for a single value."""
    if len(differences) < 2:
        return None
    from scipy import stats

    mean, error = statistics.mean(differences), statistics.stdev(differences) / len(differences) ** 0.5
    reach = float(stats.t.ppf(0.975, len(differences) - 1)) * error
    return [round(mean - reach, 5), round(mean + reach, 5)]


def main() -> None:
    parser = rounds.parser(__doc__, "word_vectors.json", rounds=3)
    parser.add_argument("--vectors", type=pathlib.Path, help="file of word vectors instead of learned ones")
    options = parser.parse_args()
    sizes = SIZES + (SMOKE if options.smoke else ())
    if options.contestant:  # which here is the seed of the round
        load = functools.partial(load_vectors, smoke=options.smoke, path=options.vectors)
        rounds.serve(lambda case: prepare(case, [*sizes, f"seed={options.contestant}"], load))
        return
    source = {"file": options.vectors.name} if options.vectors else SKIP_GRAM | {"dim": DIM}
    kept = rounds.Rounds(options.output, {"sizes": list(sizes), "vectors": source} | rounds.machine())
    again = ["--smoke"] * options.smoke
    if options.vectors:
        again.append(f"--vectors={options.vectors.resolve()}")
    for index in range(options.rounds):
        for name in rounds.chosen(list(STARTS), options.contestants):
            if not kept.missing(name, index, ["run"]):
                continue
            process = rounds.Contestant([__file__, f"--contestant={index}", *again])
            measured = process.measure(name, 1)
            process.close()
            kept.add(name, index, "run", measured)
            shown = f"validation {measured['validation']:.4f}  test {measured['test']:.4f}"
            print(f"seed {index}  {name:20s} {measured['seconds']:7.1f} s  {shown}", flush=True)
    kept.result["summary"] = summary(kept.result)
    kept.save()
    for name, parts in kept.result["summary"].items():
        print(f"{name:20s} {parts['test']}")


if __name__ == "__main__":
    main()
