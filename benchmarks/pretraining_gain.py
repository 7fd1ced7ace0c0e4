"""What pretraining is worth on movie reviews: whole runs with and without it, over seeds, compared text by text.

    python benchmarks/pretraining_gain.py --folder=DIR --cases=from_scratch --at_once=2

- `from_scratch`: the recipe `imdb_pretrained`, whose encoder reads the training reviews without their labels first, and
  the same model without that, with the learning rate, dropout and number of epochs that suit one that starts from
  nothing: those of the recipe `scratch`.
- `adapted`: the recipe `imdb_adapted`, in which MiniLM does, and `imdb`, which fine-tunes it directly.

Each run is one of `train_main.py`, in a folder of its own under `--folder`, and goes on where it was stopped; it leaves
out what does not bear on accuracy (baseline, explanations, exports). Its model then classifies the test part. With
`--at_once=2` two runs share the cores, which is faster for small models: seconds are then those of half a machine.

The summary gives accuracies and paired differences of each seed with a 95 % interval (bootstrap over the texts), and
the mean over the seeds, for which the same texts are drawn in all of them.
"""

import concurrent.futures
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import rounds

# Each case: the recipe with pretraining, and what undoes it.
CASES = {
    "from_scratch": (
        "imdb_pretrained",
        (
            *("--set=pretrain.objective=none", "--set=optimizer.learning_rate=1e-3", "--set=optimizer.layer_decay=1"),
            *("--set=optimizer.weight_decay=0.05", "--set=model.dropout=0.3", "--set=model.head_dropout=0.5"),
            *("--set=train.epochs=2", "--set=train.label_smoothing=0.05"),
        ),
    ),
    "adapted": ("imdb_adapted", ("--set=pretrain.objective=none",)),
}
VARIANTS = ("pretrained", "direct")
COMMON = (
    *("--set=judge.baseline=false", "--set=judge.uncleaned=false", "--set=judge.worst_mistakes=0"),
    *("--set=judge.deletion_texts=0", "--set=export.formats="),
)
SMOKE = (
    *("--set=data.train_examples=60", "--set=data.validation_examples=20", "--set=data.test_examples=30"),
    *("--set=data.max_length=32", "--set=train.epochs=1", "--set=train.tokens_per_batch=512"),
    *("--set=pretrain.epochs=1", "--set=pretrain.row_length=32", "--set=pretrain.tokens_per_batch=512"),
    "--set=pretrain.probe_examples=20",
)
SMOKE_SIZES = (
    *("--vocabulary_size=200", "--hidden_dim=16", "--num_layers=1", "--num_heads=2"),
    "--intermediate_dim=16",
)


def train(case: str, variant: str, seed: int, folder: pathlib.Path, smoke: bool, threads: int) -> pathlib.Path:
    """Trains, or goes on, or finds that all is done; returns the folder of the run."""
    recipe, undone = CASES[case]
    run = folder / f"{case}-{variant}-{seed}"
    arguments = [f"--recipe={recipe}", f"--seed={seed}", f"--run_dir={run}", *COMMON, f"--threads={threads}"]
    if variant == "direct":
        arguments += undone
    if smoke:
        arguments += [*SMOKE, *(SMOKE_SIZES if case == "from_scratch" else ())]
    with open(folder / f"{run.name}.log", "a", encoding="utf-8") as log:
        done = subprocess.run(
            [sys.executable, str(rounds.ROOT / "train_main.py"), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONPATH": str(rounds.ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
    if done.returncode:
        sys.exit(f"{' '.join(arguments)} failed, see {log.name}:\n{pathlib.Path(log.name).read_text()[-2000:]}")
    return run


def judge(run: pathlib.Path) -> dict:
    """Returns what the run's model says of the test part: which texts it has right, and of which texts."""
    from keras_transformer import data, load
    from keras_transformer.pipelines import score_rows
    from keras_transformer.training import RunFolder, preparation

    recipe = RunFolder(run).recipe()
    part = preparation.load_splits(recipe).test
    pipeline = load(run / "model")
    rows = data.encode(pipeline.packer, part.texts)
    logits = score_rows(pipeline.model, rows, pad_id=pipeline.packer.pad_id)
    hits = np.asarray(logits).argmax(1) == np.asarray(part.labels)
    return {
        "accuracy": round(float(hits.mean()), 5),
        "hits": "".join("01"[int(hit)] for hit in hits),
        "texts": hashlib.sha256("\n".join(part.texts).encode()).hexdigest()[:16],
    }


def facts(run: pathlib.Path) -> dict:
    """Returns what the run's own record says: seconds of each phase, sizes, curves of the two trainings."""
    from keras_transformer.training import RunFolder

    record = json.loads((run / "run.json").read_text())
    history = run / "pretraining" / "history.json"
    process = record["processes"][-1]
    found = {
        "seconds": record["seconds"],
        "machine": process["machine"],
        "training": record["training"],
        "curve": RunFolder(run).checkpoints.load_latest().state["epochs"],
    }
    if history.is_file():
        found["pretraining"] = record["pretraining"] | {"curve": json.loads(history.read_text())["epochs"]}
    return found


def summary(result: dict) -> dict:
    """Returns accuracies and paired differences: of each seed, and of all."""
    shown = {}
    for case, entries in result["rounds"].items():
        pairs = {i: entry for i, entry in enumerate(entries) if all(name in entry for name in VARIANTS)}
        if not pairs:
            continue
        hits = {i: [_hits(entry[name]) for name in VARIANTS] for i, entry in pairs.items()}
        same = len({entry[name]["texts"] for entry in pairs.values() for name in VARIANTS}) == 1
        differences = [first - second for first, second in hits.values()]
        shown[case] = {
            "seeds": {
                str(i): {name: entry[name]["accuracy"] for name in VARIANTS} | interval([hits[i][0] - hits[i][1]])
                for i, entry in pairs.items()
            },
            "all": interval(differences, same),
        }
    return shown


def _hits(entry: dict) -> np.ndarray:
    return np.array(list(entry["hits"])).astype(int)


def interval(differences: list[np.ndarray], same: bool = True) -> dict:
    """Returns the mean difference of accuracy, with a 95 % interval: a paired bootstrap over the texts.

    Args:
        differences: Of each seed, 1, 0 or -1 for each text.
        same: Whether the texts are those of every seed: then the same ones are drawn for all.
    """
    random = np.random.default_rng(0)
    together = [np.mean(differences, axis=0)] if same else differences
    draws = [
        np.mean([values[random.integers(0, len(values), len(values))].mean() for values in together])
        for _ in range(2000)
    ]
    low, high = np.quantile(draws, [0.025, 0.975])
    mean = np.mean([values.mean() for values in differences])
    return {"difference": round(float(mean), 5), "low": round(float(low), 5), "high": round(float(high), 5)}


def main() -> None:
    parser = rounds.parser(__doc__, "pretraining_gain.json", rounds=3)
    default = pathlib.Path(tempfile.gettempdir()) / "keras_transformer_pretraining_gain"
    parser.add_argument("--folder", type=pathlib.Path, default=default, help=f"folder of the runs (default {default})")
    parser.add_argument("--at_once", type=int, default=1, help="runs that share the cores (default 1)")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    kept = rounds.Rounds(options.output, {"sizes": "smoke" if options.smoke else "recipes"})
    names = rounds.chosen(VARIANTS, options.contestants)
    wanted = [
        (case, name, seed)
        for seed in range(options.rounds)
        for case in rounds.chosen(list(CASES), options.cases)
        for name in names
        if name not in dict(enumerate(kept.result["rounds"].get(case, []))).get(seed, {})
    ]
    threads = max((os.cpu_count() or 1) // options.at_once, 1)

    def start(case: str, name: str, seed: int) -> pathlib.Path:
        return train(case, name, seed, options.folder, options.smoke, threads)

    with concurrent.futures.ThreadPoolExecutor(options.at_once) as pool:
        running = {pool.submit(start, *one): one for one in wanted}
        for done in concurrent.futures.as_completed(running):
            case, name, seed = running[done]
            run = done.result()
            measured = judge(run) | facts(run)
            kept.add(case, seed, name, measured | {"threads": threads})
            print(f"{case} seed {seed} {name}: accuracy {measured['accuracy']:.4f}", flush=True)
    kept.result["summary"] = summary(kept.result)
    kept.save()
    for case, found in kept.result["summary"].items():
        for name, entry in [*found["seeds"].items(), ("mean", found["all"])]:
            print(f"{case} {name}: {entry['difference']:+.4f} ({entry['low']:+.4f} to {entry['high']:+.4f})")


if __name__ == "__main__":
    main()
