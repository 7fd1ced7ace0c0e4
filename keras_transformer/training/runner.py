"""`run`: from a recipe to a run folder, in phases that a killed process goes on with."""

import contextlib
import itertools
import logging
import os
import tempfile
from typing import Any

import keras
import tensorflow as tf

from keras_transformer import data, ops
from keras_transformer.evaluation.arrays import check_tools
from keras_transformer.training import judging, strategies
from keras_transformer.training.cluster import Cluster
from keras_transformer.training.console import log_to_file
from keras_transformer.training.files import read_json
from keras_transformer.training.joint import JointWork
from keras_transformer.training.phases import Work
from keras_transformer.training.recipe import Recipe
from keras_transformer.training.run_folder import RunFolder, environment
from keras_transformer.training.word_start import check_words
from keras_transformer.training.work import Export

logger = logging.getLogger(__name__)


def run(
    recipe: Recipe,
    run_dir: str | os.PathLike[str],
    *,
    strategy: str = "one_device",
    logical_cpus: int | None = None,
    wait: float = 300.0,
    deterministic: bool = False,
    overwrite: bool = False,
    data_dir: str | None = None,
    download: bool = False,
    checkpoint_steps: int = 100,
    log_seconds: float = 30.0,
    token_cache: bool | str | os.PathLike[str] = False,
    export: Export | None = None,
    pretrain_only: bool = False,
) -> dict[str, Any]:
    """Pretrain if asked to, train, evaluate, explain, save, report and export; or go on where an earlier process ended.

    Args:
        recipe: `Recipe`, which alone defines the result.
        run_dir: folder of the run.
        strategy: str, `"one_device"`, `"mirrored"`, `"multi_worker"` or `"tpu"`. Default `"one_device"`.
        logical_cpus: int or None, split the CPU into so many devices, to try `"mirrored"` without GPUs.
        wait: float, seconds that `"multi_worker"` waits for the other workers. Default 300.
        deterministic: bool, make TensorFlow's operations deterministic, at some cost in speed. Default False.
        overwrite: bool, throw away what an earlier run left in the folder. Default False.
        data_dir: str or None, folder of prepared data.
        download: bool, whether the data may be downloaded. Default False.
        checkpoint_steps: int, steps between checkpoints within an epoch. Default 100.
        log_seconds: float, seconds between progress lines where there is no terminal. Default 30.
        token_cache: bool or folder, keep the tokenized texts: in the user's cache folder (True), in that folder, or not
            at all (False, default).
        export: function of (pipeline, folder, `ExportRecipe`, held-out `data.Examples` or None) that writes the
            artefacts, or None to leave them out.
        pretrain_only: bool, end with the pretraining; the same call without it goes on from there. Default False.

    Returns:
        The content of metrics.json, or what was measured on held-out text if nothing but pretraining was done. Of
        several workers the first, the chief, writes the folder and finishes the work; the others help to train and to
        score, touch no file, and return an empty dict.

    Raises:
        ValueError: If the folder holds another recipe, or data, weights and recipe do not fit each other.
        OSError: If something cannot be read or written.
    """
    if checkpoint_steps < 1:
        raise ValueError(f"checkpoint_steps must be at least 1. Received: {checkpoint_steps}")
    if pretrain_only and not recipe.pretrain.wanted:
        raise ValueError("The recipe has no pretraining: set pretrain.objective. Received: pretrain.objective=none")
    if not pretrain_only and recipe.pretrain.model_kind != "encoder":
        raise ValueError(
            f"The objective {recipe.pretrain.objective!r} trains what is no encoder, and classifiers are encoders: end "
            "with the pretraining (--mode=pretrain). Received: a recipe that goes on to fine-tuning"
        )
    check_tools("sklearn", "scipy", "matplotlib")
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    # Determinism needs a seed before anything random is built; the model is seeded again on its own.
    keras.utils.set_random_seed(recipe.seed)
    here = environment()
    about = {"recipe": recipe.to_dict(), "versions": here["versions"], "deterministic": deterministic}
    devices = strategies.create(strategy, logical_cpus=logical_cpus, wait=wait, about=about)
    cluster = Cluster(devices)
    with cluster.explained(), contextlib.ExitStack() as stack:
        if cluster.is_chief:
            folder = stack.enter_context(RunFolder(run_dir).open(recipe, overwrite))
            stack.enter_context(log_to_file(folder.logs / "run.log"))
        else:
            folder = RunFolder(stack.enter_context(tempfile.TemporaryDirectory()))  # nothing of it is kept
        cache = data.TokenCache(None if token_cache is True else token_cache) if token_cache else None
        check_words(recipe, folder.checkpoints.folder)
        kind = JointWork if recipe.data.tasks else Work
        work = kind(recipe, folder, cluster, data_dir, download, checkpoint_steps, log_seconds, cache)
        if not cluster.is_chief:
            work.help()
            return {}
        process = here | {
            "strategy": strategy,
            "workers": cluster.size,
            "replicas": devices.num_replicas_in_sync,
            "deterministic": deterministic,
            "product_dtype": ops.choose_product_dtype(recipe.train.product_dtype),
            "threads": tf.config.threading.get_intra_op_parallelism_threads() or os.cpu_count(),
        }
        folder.record(processes=[*folder.run().get("processes", []), process])
        phases = work.phases(pretrain_only, export)
        done = folder.run().get("done", [])
        finished = [name for name, (_, output) in phases.items() if name in done and output.exists()]
        # Whatever comes after a phase that has to be done is done again.
        todo = list(itertools.dropwhile(finished.__contains__, phases))
        cluster.value_from_chief(lambda: todo)
        for name in todo:
            with folder.phase(name):
                phases[name][0]()
            folder.record(done=[*(n for n in folder.run().get("done", []) if n != name), name])
        cluster.barrier()
        if pretrain_only:
            return folder.run()["pretraining"]["validation"]
        metrics = read_json(folder.metrics)
        if not todo:
            for line in ("nothing is left to do", *judging.summary(metrics)):
                logger.info("%s", line)
        return metrics
