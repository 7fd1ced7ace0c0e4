"""A run of many tasks: an encoder that they share, a head for each, and batches that are mixed by temperature."""

import dataclasses
import functools
import hashlib
import logging
import shutil
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from keras_transformer import data, losses
from keras_transformer.data.splitting import check_classes, count, subset
from keras_transformer.models import HeadConfig, MultiTaskClassifier
from keras_transformer.pipelines import TextPipeline, load, score_rows
from keras_transformer.text import TextPacker
from keras_transformer.training import faults, judging, preparation
from keras_transformer.training.batches import TaskBatches
from keras_transformer.training.files import TEMPORARY, read_json, write_json
from keras_transformer.training.fitting import Fit
from keras_transformer.training.recipe import Recipe
from keras_transformer.training.work import BaseWork, Export, Phases, facts_of, metric_of

logger = logging.getLogger(__name__)


class JointWork(BaseWork):
    """A run of several tasks, each read, judged and saved as if it were alone."""

    @functools.cached_property
    def recipes(self) -> dict[str, Recipe]:
        """The recipe of each task."""
        return self.recipe.of_tasks()

    @functools.cached_property
    def splits(self) -> dict[str, data.Splits]:
        """The data of each task, checked to be that of the run's first process."""
        splits = without_held_out(
            {
                name: preparation.load_splits(recipe, self.data_dir, self.download)
                for name, recipe in self.recipes.items()
            }
        )
        tasks = {name: facts_of(of_task) for name, of_task in splits.items()}
        fingerprints = " ".join(f"{name} {facts['fingerprint']}" for name, facts in tasks.items())
        sizes = [facts["sizes"] for facts in tasks.values()]
        found = {
            "description": " ".join(f"{name}: {facts['description']}" for name, facts in tasks.items()),
            "fingerprint": hashlib.sha256(fingerprints.encode()).hexdigest()[:16],
            "sizes": {part: sum(of_task[part] for of_task in sizes) for part in sizes[0]},
            "tasks": tasks,
        }
        self.note_data(found, ", ".join(self.recipes))
        return splits

    @functools.cached_property
    def parts(self) -> dict[str, data.Examples]:
        """The texts of each task that are trained on."""
        return {name: preparation.training_part(recipe, self.splits[name]) for name, recipe in self.recipes.items()}

    @functools.cached_property
    def packer(self) -> TextPacker:
        """The packer of all tasks; a new vocabulary is learned from the texts of all."""
        return preparation.make_packer(self.recipe, self._texts(), self.vocabulary)

    def _texts(self) -> list[str]:
        return [text for part in self.parts.values() for text in part.texts]

    @functools.cached_property
    def model(self) -> MultiTaskClassifier:
        """The new model, built under the strategy."""
        packer = self.packer
        heads = {
            name: HeadConfig(len(self.splits[name].class_names), recipe.model.kind, recipe.model.pooling)
            for name, recipe in self.recipes.items()
        }
        # The same weights and dropout whatever was drawn before.
        keras.utils.set_random_seed(self.recipe.seed)
        with self.strategy.scope():
            model = preparation.make_joint_model(self.recipe, packer, heads)
        self.begin(model, packer, self._texts())
        return model

    @functools.cached_property
    def pipelines(self) -> dict[str, TextPipeline]:
        """The pipeline of each task; their models have the encoder in common."""
        return {
            name: TextPipeline(self.model.task_model(name), self.packer, of_task.class_names)
            for name, of_task in self.splits.items()
        }

    @functools.cached_property
    def fit(self) -> Fit:
        """The training, ready to start or to go on."""
        parts, kinds = self.parts, {name: recipe.model.kind for name, recipe in self.recipes.items()}
        self.cluster.check_same("data", self.folder.run()["data"]["fingerprint"])
        train, packer, network = self.recipe.train, self.packer, self.model
        rows = {name: data.encode(packer, part.texts, cache=self.token_cache) for name, part in parts.items()}
        plans = {name: preparation.make_plan(recipe, rows[name]) for name, recipe in self.recipes.items()}
        mixture = data.TaskMixture(plans, train.task_temperature, self.recipe.seed)
        weights = {name: preparation.weigh(recipe, parts[name]) for name, recipe in self.recipes.items()}
        tasks = {name: (rows[name], part.labels, weights[name]) for name, part in parts.items()}
        batches = TaskBatches(tasks, mixture, packer.pad_id)
        self.tell(np.concatenate([of_task.lengths for of_task in rows.values()]), batches)
        for name, share in mixture.shares.items():
            logger.info("task %s: %d rows, a share of %.1f %%", name, len(rows[name]), 100 * share)
        # One divisor for all tasks: a row counts the same whatever its task, so that the shares are those asked for.
        per_batch = 1 / sum(share / mixture.rows_per_batch[name] for name, share in mixture.shares.items())
        per_step = per_batch * batches.steps_per_epoch / self.updates(batches)
        with self.strategy.scope():
            model = self.compiled(
                network,
                dict.fromkeys(kinds, per_step),
                batches,
                {name: losses.for_kind(kind, label_smoothing=train.label_smoothing) for name, kind in kinds.items()},
                weighted_metrics={name: [metric_of(kind, f"{name}_")] for name, kind in kinds.items()},
            )
        best_by = "accuracy" if set(kinds.values()) == {"single_label"} else "loss"
        return self.loop(model, batches, self._validation(model), best_by)

    def _validation(self, model: Any) -> Callable[[], dict[str, float]]:
        """Return what scores the validation parts: the figures of each task, and their means over the tasks."""
        parts = {name: of_task.validation for name, of_task in self.splits.items()}
        rows = {name: data.encode(self.packer, part.texts, cache=self.token_cache) for name, part in parts.items()}

        def validate() -> dict[str, float]:
            measured = {}
            for name, recipe in self.recipes.items():
                budget = recipe.train.tokens_per_batch
                logits = score_rows(OfTask(model, name), rows[name], budget, self.packer.pad_id)
                measured[name] = judging.measure(recipe.model.kind, logits, parts[name].labels)
            common = set.intersection(*(set(found) for found in measured.values()))
            return {
                **{metric: float(np.mean([found[metric] for found in measured.values()])) for metric in sorted(common)},
                **{f"{name}_{metric}": value for name, found in measured.items() for metric, value in found.items()},
            }

        return validate

    def phases(self, pretrain_only: bool, export: Export | None) -> Phases:
        """Return the phases in their order: what each does, and what it leaves."""
        folder = self.folder
        phases = {
            "train": (self.train, folder.checkpoints.folder),
            "evaluate": (self.evaluate, folder.metrics),
            "save": (self.save, folder.model),
            "explain": (self.explain, folder.scores),
            "report": (self.report, folder.report),
        }
        if export is not None and self.recipe.export.formats:
            phases["export"] = (functools.partial(self.export, export), folder.export)
        return phases

    def score(self) -> None:
        """Help the chief to score what it judges."""
        for name, recipe in self.recipes.items():
            model = OfTask(self.fit.model, name)
            judging.score(recipe, self.splits[name], self.pipelines[name], model, self.log_seconds, self.token_cache)

    def judge(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the content of metrics.json, and what else comes from the same scores, both by task."""
        metrics, shown = {}, {}
        for name, recipe in self.recipes.items():
            logger.info("judging the task %s", name)
            model = OfTask(self.fit.model, name)
            metrics[name], shown[name] = judging.judge(
                recipe, self.splits[name], self.pipelines[name], model, self.log_seconds, self.token_cache
            )
        return {"tasks": metrics}, {"tasks": shown}

    def save(self) -> None:
        """Write model/ with a pipeline for each task, calibrated on its validation part; the folder appears whole."""
        self.trained()
        metrics, folder = read_json(self.folder.metrics)["tasks"], self.folder.model
        temporary = folder.with_name(f"{TEMPORARY}{folder.name}")
        shutil.rmtree(temporary, ignore_errors=True)  # of a process that was killed
        temporary.mkdir(parents=True)
        for name, pipeline in self.pipelines.items():
            self.calibrated(pipeline, metrics[name], self.splits[name].validation).save(temporary / name)
        faults.reach("save")
        shutil.rmtree(folder, ignore_errors=True)
        temporary.replace(folder)

    @functools.cached_property
    def saved(self) -> dict[str, TextPipeline]:
        """The pipeline of each task as a user loads it."""
        return {name: load(self.folder.model / name) for name in self.recipes}

    def explain(self) -> None:
        """Add to report.json, for each task, which words drove the worst mistakes, and how far that can be trusted."""
        shown = read_json(self.folder.scores)["tasks"]
        for name, recipe in self.recipes.items():
            logger.info("explaining the task %s", name)
            texts, mistakes = self.splits[name].test.texts, shown[name].get("mistakes", [])
            shown[name] |= judging.explain(
                recipe.judge, self.saved[name], texts, mistakes, recipe.seed, self.log_seconds
            )
        faults.reach("explain")
        write_json(self.folder.scores, {"tasks": shown})

    def export(self, export: Export) -> None:
        """Write export/ anew, with a folder for each task."""
        shutil.rmtree(self.folder.export, ignore_errors=True)  # of a process that was killed
        faults.reach("export")
        wanted, seed = self.recipe.export, self.recipe.seed
        for name, of_task in self.splits.items():
            held_out = subset(of_task.test, wanted.held_out, seed) if wanted.held_out else None
            export(self.saved[name], self.folder.export / name, wanted, held_out)


class OfTask:
    """A model of many tasks, as what scores texts by one task takes it.

    Args:
        model: `keras.Model` with an output for every task.
        task: str.
    """

    def __init__(self, model: Any, task: str) -> None:
        self.model = model
        self.task = task

    def predict(self, batches: Any, **options: Any) -> dict[str, np.ndarray]:
        """Return the logits of the task, see `keras.Model.predict`."""
        return {"logits": self.model.predict(batches, **options)[self.task]}


def without_held_out(splits: Mapping[str, data.Splits]) -> dict[str, data.Splits]:
    """Leave out training texts by which another task is judged: the encoder would have learned from them.

    Args:
        splits: mapping from the name of each task to its `data.Splits`.

    Returns:
        Dict of the same names; `dropped` says how many texts were left out.

    Raises:
        ValueError: If nothing is left to learn from.
    """
    held_out = {
        name: {data.text_key(text) for part in (of_task.validation, of_task.test) for text in part.texts}
        for name, of_task in splits.items()
    }
    found = {}
    for name, of_task in splits.items():
        others = set().union(*(keys for other, keys in held_out.items() if other != name))
        texts = of_task.train.texts if others else []
        seen = {place for place, text in enumerate(texts) if data.text_key(text) in others}
        if seen:
            train = of_task.train.select([place for place in range(len(of_task.train)) if place not in seen])
            check_classes(train, f"The task {name} without the {len(seen)} texts by which other tasks are judged")
            dropped = dict(of_task.dropped)
            count(dropped, "held_out_by_another_task", len(seen))
            description = f"{of_task.description} {len(seen)} training texts left out by which other tasks are judged."
            of_task = dataclasses.replace(of_task, train=train, description=description, dropped=dropped)
        found[name] = of_task
    return found
