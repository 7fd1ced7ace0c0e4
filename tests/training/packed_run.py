"""Trains the small classifier of distributed_run.py on packed rows; see test_distributed.py."""

import pathlib

import keras
import numpy as np
from distributed_run import Recorder, build

from keras_transformer import data

EPOCHS = 3


def examples() -> tuple:
    """Returns rows of tokens, labels, weights, and a plan whose last batches leave a replica with less, or nothing."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(3, 25, 60)
    rows = data.TokenRows(rng.integers(1, 60, lengths.sum()), np.cumsum([0, *lengths]), np.arange(60))
    labels = np.array([rows.row(i).max() % 3 for i in range(60)], np.int32)
    return rows, labels, rng.uniform(0.5, 1.5, 60), data.PackedPlan(lengths, 32, tokens_per_batch=96, seed=1)


def run(strategy, output: pathlib.Path) -> None:
    """Trains, evaluates, and writes losses, norms, metrics and weights."""
    rows, labels, weights, plan = examples()
    distributed, recorder = build(strategy, EPOCHS * plan.steps_per_epoch), Recorder()
    history = []
    for epoch in range(EPOCHS):
        dataset = data.make_dataset(rows, labels, weights, plan, epoch)
        history.append(distributed.fit(dataset, verbose=0, shuffle=False, callbacks=[recorder]).history)
    measured = distributed.evaluate(data.make_dataset(rows, labels, weights, plan), return_dict=True, verbose=0)
    np.savez(
        output,
        losses=recorder.losses,
        norms=recorder.norms,
        **{f"measured/{name}": value for name, value in measured.items()},
        **{f"weights/{v.path}": keras.ops.convert_to_numpy(v) for v in distributed.model.trainable_variables},
    )
