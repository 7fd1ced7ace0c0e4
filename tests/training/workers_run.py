"""One of several workers that train the small classifier of distributed_run.py; see test_workers.py.

Run as `python workers_run.py FOLDER STEPS RECIPE` with TF_CONFIG; RECIPE is the file of a pretraining.
"""

import json
import pathlib
import sys

import numpy as np
import tensorflow as tf

from keras_transformer.training import sharing, strategies
from keras_transformer.training.cluster import Cluster
from tests.training import less_work_run
from tests.training.distributed_run import dropped, run, run_accumulated

SIZES = (7, 1, 4, 2)  # batches that do not divide, and one with fewer rows than there are workers


def seen(strategy) -> list:
    """Returns the ids that this worker's replica gets, batch by batch."""
    ids = np.arange(sum(SIZES))
    batches = np.split(ids, np.cumsum(SIZES)[:-1])
    dataset = tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=tf.TensorSpec([None], tf.int64))
    whole = sharing.WholeBatches(dataset)
    shares = (strategy.run(lambda batch: sharing.own(strategy, batch), args=(batch,)) for batch in whole)
    return [strategy.experimental_local_results(share)[0].numpy().tolist() for share in shares]


def main(folder: pathlib.Path, steps: int, recipe: pathlib.Path) -> None:
    strategy = strategies.create("multi_worker", wait=120, about={"steps": steps})
    cluster = Cluster(strategy)
    data = bytes(range(256)) * 40_000  # more than one message
    found = {
        "index": cluster.index,
        "size": cluster.size,
        "seen": seen(strategy),
        "autotuned": sharing.WholeBatches(tf.data.Dataset.range(2).batch(2)).dataset.options().autotune.enabled,
        "dropped": dropped(strategy)[0].tolist(),
        "bytes_arrive": cluster.from_chief(lambda: data) == data,
        "nothing_arrives": cluster.from_chief(lambda: b"") == b"",
        "any": [cluster.any(False), cluster.any(cluster.index == 1)],
    }
    try:
        cluster.check_same("thing", str(cluster.index > 0))
    except ValueError as error:
        found["differs"] = str(error)
    cluster.check_same("thing", "the same")
    (folder / f"worker_{cluster.index}.json").write_text(json.dumps(found))
    run(strategy, steps, folder / f"worker_{cluster.index}.npz")
    run_accumulated(strategy, folder / f"accumulated_{cluster.index}.npz")
    if cluster.size == 2:  # four would show nothing else
        less_work_run.main(strategy, folder, recipe)
    cluster.barrier()


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), int(sys.argv[2]), pathlib.Path(sys.argv[3]))
