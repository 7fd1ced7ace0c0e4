"""Two workers on one core each beside one worker on one core: the same batches of real reviews, MiniLM.

    python benchmarks/workers_speed.py --rounds=3

A step has the same tokens for one worker as for two, which share it. Every worker is bound to a core of its own and
computes with one thread; the gradients of two travel between their processes. What is timed is a second pass over the
batches, when every shape is compiled.
"""

import argparse
import json
import os
import pathlib
import sys
import tempfile
import time

import numpy as np
import rounds
import training_speed

CONTESTANTS = {"one": 1, "two": 2}
LIMIT, SMOKE_LIMIT = 512, 64


def work(output: pathlib.Path, texts: int, tokens: int, limit: int) -> None:
    """Trains as the one worker, or as one of several, and writes the time if it is the first."""
    index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[index]})
    from keras_transformer.training import strategies

    several = len(json.loads(os.environ["TF_CONFIG"])["cluster"]["worker"]) > 1
    strategy = strategies.create("multi_worker" if several else "one_device")
    import keras

    from keras_transformer import data, losses, models, optimizers, pretrained
    from keras_transformer.training.distributed import DistributedModel

    folder = pretrained.resolve("minilm")
    samples, labels = training_speed.sample(texts)
    rows = data.encode(pretrained.load_packer(folder, max_length=limit), samples)
    plan = data.BatchPlan(rows.lengths, tokens_per_batch=tokens, seed=0)
    dataset = data.make_dataset(rows, np.array(labels), None, plan)
    keras.utils.set_random_seed(0)
    with strategy.scope():
        encoder = pretrained.load_encoder(folder, dropout=0.1, attention_dropout=0.1)
        model = models.TextClassifier(encoder, num_outputs=2)
        trained = DistributedModel(model, examples_per_step=texts / plan.steps_per_epoch)
        trained.compile(
            optimizers.create(model, learning_rate=5e-5, total_steps=1000),
            losses.for_kind("single_label"),
            product_dtype="auto",
            compiled_elementwise=True,
        )
    trained.fit(dataset, verbose=0, shuffle=False)
    started = time.perf_counter()
    trained.fit(dataset, verbose=0, shuffle=False)
    seconds = time.perf_counter() - started
    if index == 0:
        output.write_text(json.dumps({"seconds": round(seconds, 2), "texts": texts, "steps": plan.steps_per_epoch}))


def main() -> None:
    parser = rounds.parser(__doc__, "workers_speed.json", rounds=3)
    parser.add_argument("--texts", type=int, default=800, help="reviews of a pass (default 800)")
    parser.add_argument("--tokens_per_step", type=int, default=8192, help="of all workers (default 8192)")
    parser.add_argument("--worker", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--limit", type=int, default=LIMIT, help=f"tokens of a text (default {LIMIT})")
    options = parser.parse_args()
    if options.smoke:
        options.texts, options.tokens_per_step, options.limit = 16, 512, SMOKE_LIMIT
    if options.worker:
        work(options.worker, options.texts, options.tokens_per_step, options.limit)
        return
    sizes = [f"--{name}={getattr(options, name)}" for name in ("texts", "tokens_per_step", "limit")]
    if options.contestant:
        rounds.serve(lambda case: lambda calls: launched(CONTESTANTS[options.contestant], sizes))
        return
    names = rounds.chosen(CONTESTANTS, options.contestants)
    settings = {"texts": options.texts, "tokens_per_step": options.tokens_per_step, "limit": options.limit}
    kept = rounds.Rounds(options.output, settings | rounds.machine())

    def start(_: str, name: str) -> rounds.Contestant:
        return rounds.Contestant([__file__, f"--contestant={name}", *sizes])

    case = "reviews"
    groups = {case: rounds.chosen([case], options.cases)}
    rounds.run(kept, options.rounds, groups, lambda _: names, start, fresh=True)
    ratios = kept.ratios(case, base="two")
    kept.result["summary"] = {"times_the_seconds_of_two": ratios}
    kept.save()
    if "one" in ratios:
        print(f"two workers train {ratios['one']['median']:.2f} times as fast as one")


def launched(workers: int, sizes: list[str]) -> dict:
    """Starts the workers and returns what the first one measured."""
    from keras_transformer.training.launch import launch

    with tempfile.TemporaryDirectory() as folder:
        output = pathlib.Path(folder) / "measured.json"
        status = launch([sys.executable, __file__, f"--worker={output}", *sizes], workers, restarts=0, threads=1)
        if status:
            raise RuntimeError(f"The workers must end well. Received: exit status {status}")
        return json.loads(output.read_text())


if __name__ == "__main__":
    main()
