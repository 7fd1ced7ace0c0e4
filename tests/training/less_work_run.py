"""Trains a tiny classifier in each of the ways that save work, and pretrains, for test_workers.py.

All of it by the loop that recipes train with, under the strategy of whoever calls; what happened is written to files.
"""

import json
import pathlib
from unittest import mock

import keras
import numpy as np
from safetensors.numpy import load_file

from keras_transformer import data
from keras_transformer.pipelines import score_rows
from keras_transformer.training import CheckpointStore, Recipe, TrainRecipe, judging, strategies
from keras_transformer.training import run as run_recipe
from keras_transformer.training.batches import TextBatches
from keras_transformer.training.cluster import Cluster
from keras_transformer.training.fitting import Fit
from tests.training.distributed_run import build
from tests.training.fits import BUCKETS, make_rows

EPOCHS = 2
STAGES = [(4, 0.3), (6, 0.55)]
RUNS = {
    "packed": {"packing": True, "frozen": 1, "ema_decay": 0.8},
    "adapted": {"rank": 2, "stages": STAGES},
}


def train(strategy, folder: pathlib.Path, name: str, packing: bool = False, stages=(), **options) -> None:
    """Trains and validates, and writes losses, what the batches were, and the weights before and after."""
    rows, labels = make_rows(60)
    if packing:
        plan = data.PackedPlan(rows.lengths, 24, tokens_per_batch=72, seed=1)
    else:
        plan = data.BatchPlan(rows.lengths, BUCKETS, tokens_per_batch=60, seed=1)
    curriculum = data.Curriculum(rows, plan, stages, EPOCHS) if stages else None
    batches = TextBatches(rows, labels, None, plan, curriculum)
    total = EPOCHS * plan.steps_per_epoch
    distributed = build(strategy, total, batch_loss=True, compiled_elementwise=False, **options)
    variables = [v for v in distributed.variables if v.dtype == "float32"]  # not the seeds, whose paths are counted up
    before = {f"before/{v.path}": v.numpy() for v in variables}
    fit = Fit(
        distributed,
        batches,
        lambda: judging.measure("single_label", score_rows(distributed, rows), labels),
        "loss",
        TrainRecipe(epochs=EPOCHS, patience=None, ema_decay=options.get("ema_decay")),
        CheckpointStore(folder / name / "checkpoints"),
        {},
    )
    state = fit.run()
    kept = {f"weights/{v.path}": v.numpy() for v in variables}
    if fit.cluster.is_chief:
        tensors = fit.store.load(state.best_step).tensors
        stepped = [tensor for key, tensor in tensors.items() if key.startswith("model/")]
        kept |= {
            f"stepped/{v.path}": tensor
            for v, tensor in zip(distributed.variables, stepped, strict=True)
            if v.dtype == "float32"
        }
    given = [inputs for epoch in range(EPOCHS) for inputs, *_ in batches.dataset(epoch, 0, plan.steps_per_epoch)]
    np.savez(
        folder / f"{name}.npz",
        losses=state.steps["loss"],
        val_losses=state.epochs["val_loss"],
        lengths=[inputs["token_ids"].shape[1] for inputs in given],
        whole_lengths=np.concatenate([plan.epoch(epoch).bucket_lengths for epoch in range(EPOCHS)]),
        texts_in_a_row=[int(keras.ops.max(inputs.get("example_ids", 1))) for inputs in given],
        **before,
        **kept,
    )


def pretrain(strategy, folder: pathlib.Path, name: str, recipe: pathlib.Path) -> None:
    """Pretrains as the command line does, and lets the chief write losses and weights."""
    run_dir = folder / name
    with mock.patch.object(strategies, "create", return_value=strategy):  # TensorFlow connects once in a process
        measured = run_recipe(Recipe.from_file(recipe), run_dir, pretrain_only=True)
    if measured:
        history = json.loads((run_dir / "pretraining" / "history.json").read_text())
        weights = load_file(run_dir / "pretrained" / "model.safetensors")
        np.savez(
            folder / f"{name}.npz",
            losses=history["steps"]["loss"],
            val_losses=history["epochs"]["val_loss"],
            **{f"weights/{path}": value for path, value in weights.items()},
        )


def main(strategy, folder: pathlib.Path, recipe: pathlib.Path) -> None:
    """Writes NAME_INDEX.npz for every run, with the index of this worker."""
    index = Cluster(strategy).index
    for name, options in RUNS.items():
        train(strategy, folder, f"{name}_{index}", **options)
    pretrain(strategy, folder, f"pretrained_{index}", recipe)
