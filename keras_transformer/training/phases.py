"""The phases of a run: train, evaluate, save, explain, report, export; what they share is made when first needed."""

import dataclasses
import functools
import logging
import shutil
from collections.abc import Sequence
from typing import Any

import keras

from keras_transformer import data, losses
from keras_transformer.data.splitting import subset
from keras_transformer.pipelines import TextPipeline, load, score_rows
from keras_transformer.training import faults, judging, preparation
from keras_transformer.training.batches import TextBatches
from keras_transformer.training.files import read_json, write_json
from keras_transformer.training.fitting import Fit
from keras_transformer.training.pretraining import Pretraining
from keras_transformer.training.recipe import Recipe
from keras_transformer.training.work import BaseWork, Export, Phases, facts_of, metric_of

logger = logging.getLogger(__name__)


class Work(BaseWork):
    """A run of one task: what its phases share, made when the first of them needs it."""

    @functools.cached_property
    def splits(self) -> data.Splits:
        """The data, checked to be that of the run's first process."""
        splits = preparation.load_splits(self.recipe, self.data_dir, self.download)
        self.note_data(facts_of(splits), self.recipe.data.source)
        return splits

    @functools.cached_property
    def pretraining(self) -> Pretraining:
        """What is learned before the labels are looked at."""
        return Pretraining(
            self.recipe,
            self.folder.pretraining,
            self.vocabulary,
            self.folder.logs,
            lambda: self.splits,
            self.cluster,
            self.data_dir,
            self.download,
            self.checkpoint_steps,
            self.log_seconds,
        )

    @functools.cached_property
    def start(self) -> Recipe:
        """The recipe of the fine-tuning: it starts from what was pretrained, if anything was."""
        if not self.recipe.pretrain.wanted:
            return self.recipe
        if not self.folder.pretrained.is_dir() or self.cluster.size > 1:
            # Other workers do not see the chief's disk: all of them bring back what they learned together.
            self.pretraining.run()
            self.pretraining.save(self.folder.pretrained)
        init = dataclasses.replace(self.recipe.model, init=str(self.folder.pretrained), word_vectors="")
        return dataclasses.replace(self.recipe, model=init)

    @functools.cached_property
    def pipeline(self) -> TextPipeline:
        """The new model, built under the strategy, and its packer."""
        part = preparation.training_part(self.recipe, self.splits)
        packer = preparation.make_packer(self.start, part.texts, self.vocabulary)
        # The same weights and dropout whatever was drawn before.
        keras.utils.set_random_seed(self.recipe.seed)
        with self.strategy.scope():
            model = preparation.make_model(self.start, packer, len(self.splits.class_names))
        self.begin(model, packer, part.texts)
        return TextPipeline(model, packer, self.splits.class_names)

    @property
    def model(self) -> keras.Model:
        """The classifier."""
        return self.pipeline.model

    @functools.cached_property
    def fit(self) -> Fit:
        """The training, ready to start or to go on."""
        part = preparation.training_part(self.recipe, self.splits)
        self.cluster.check_same("data", self.folder.run()["data"]["fingerprint"])
        recipe, pipeline = self.recipe, self.pipeline
        if len(part) < len(self.splits.train):
            logger.info("training on a part of the data: %d of %d texts", len(part), len(self.splits.train))
        rows = data.encode(pipeline.packer, part.texts, cache=self.token_cache)
        plan = preparation.make_plan(recipe, rows)
        curriculum = preparation.make_curriculum(recipe, pipeline.packer, rows, plan)
        batches = TextBatches(rows, part.labels, preparation.weigh(recipe, part), plan, curriculum)
        self.tell(rows.lengths, batches)
        with self.strategy.scope():
            model = self.compiled(
                pipeline.model,
                len(rows) / self.updates(batches),
                batches,
                losses.for_kind(recipe.model.kind, label_smoothing=recipe.train.label_smoothing),
                metrics=[metric_of(recipe.model.kind)],
            )
        validation = self.splits.validation
        validation_rows = data.encode(pipeline.packer, validation.texts, cache=self.token_cache)

        def validate() -> dict[str, float]:
            logits = score_rows(model, validation_rows, recipe.train.tokens_per_batch, pipeline.packer.pad_id)
            return judging.measure(recipe.model.kind, logits, validation.labels)

        return self.loop(model, batches, validate, "accuracy" if recipe.model.kind == "single_label" else "loss")

    def phases(self, pretrain_only: bool, export: Export | None) -> Phases:
        """Return the phases in their order: what each does, and what it leaves."""
        folder, phases = self.folder, {}
        if self.recipe.pretrain.wanted:
            phases["pretrain"] = (self.pretrain, folder.pretrained)
        if pretrain_only:
            return phases
        phases |= {
            "train": (self.train, folder.checkpoints.folder),
            "evaluate": (self.evaluate, folder.metrics),
            "save": (self.save, folder.model),
            "explain": (self.explain, folder.scores),
            "report": (self.report, folder.report),
        }
        if export is not None and self.recipe.export.formats:
            phases["export"] = (functools.partial(self.export, export), folder.export)
        return phases

    def help_with(self, todo: Sequence[str]) -> None:
        """Do a worker's share of the phases that are left to do."""
        if "pretrain" in todo:
            self.pretraining.run()
        super().help_with(todo)

    def score(self) -> None:
        """Help the chief to score what it judges."""
        judging.score(self.recipe, self.splits, self.pipeline, self.fit.model, self.log_seconds, self.token_cache)

    def pretrain(self) -> None:
        """Learn from text without labels, and write pretrained/."""
        found = self.pretraining.run()
        history = found.pop("history")
        self.folder.record(pretraining=found)
        write_json(self.folder.pretraining / "history.json", history)
        faults.reach("pretrain")
        self.pretraining.save(self.folder.pretrained)
        shown = "  ".join(f"{name} {value:.4f}" for name, value in found["validation"].items())
        logger.info("pretrained: %s; the model is in %s", shown, self.folder.pretrained)

    def judge(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the content of metrics.json, and of the part of report.json that comes from the same scores."""
        return judging.judge(
            self.recipe, self.splits, self.pipeline, self.fit.model, self.log_seconds, self.token_cache
        )

    def save(self) -> None:
        """Write model/, with the temperature and, for many labels, the thresholds found on the validation part."""
        self.trained()
        pipeline = self.calibrated(self.pipeline, read_json(self.folder.metrics), self.splits.validation)
        faults.reach("save")
        pipeline.save(self.folder.model)

    @functools.cached_property
    def saved(self) -> TextPipeline:
        """The pipeline as a user loads it."""
        return load(self.folder.model)

    def explain(self) -> None:
        """Add to report.json which words drove the worst mistakes, and how far that can be trusted."""
        shown = read_json(self.folder.scores)
        if not shown.get("mistakes") and not self.recipe.judge.deletion_texts:
            return
        found = judging.explain(
            self.recipe.judge,
            self.saved,
            self.splits.test.texts,
            shown.get("mistakes", []),
            self.recipe.seed,
            self.log_seconds,
        )
        faults.reach("explain")
        write_json(self.folder.scores, shown | found)

    def export(self, export: Export) -> None:
        """Write export/ anew."""
        shutil.rmtree(self.folder.export, ignore_errors=True)  # of a process that was killed
        faults.reach("export")
        faults.reach_when_written("export:writing", self.folder.export)
        recipe = self.recipe.export
        held_out = subset(self.splits.test, recipe.held_out, self.recipe.seed) if recipe.held_out else None
        export(self.saved, self.folder.export, recipe, held_out)
