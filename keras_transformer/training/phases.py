"""The phases of a run: train, evaluate, save, explain, report, export; what they share is made when first needed."""

import dataclasses
import functools
import logging
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from keras_transformer import data, evaluation, losses, optimizers
from keras_transformer.data.splitting import subset
from keras_transformer.models import without_adapters
from keras_transformer.pipelines import TextPipeline, load, score_rows
from keras_transformer.pipelines.check_texts import choose_check_texts
from keras_transformer.training import faults, judging, preparation, state
from keras_transformer.training.batches import TextBatches
from keras_transformer.training.cluster import Cluster
from keras_transformer.training.distributed import DistributedModel
from keras_transformer.training.files import read_json, write_json
from keras_transformer.training.fitting import Fit, updates_per_epoch
from keras_transformer.training.pretraining import Pretraining
from keras_transformer.training.recipe import Recipe
from keras_transformer.training.run_folder import RunFolder, format_seconds
from keras_transformer.training.scalars import ScalarWriter
from keras_transformer.training.sections import ExportRecipe

logger = logging.getLogger(__name__)

Export = Callable[[TextPipeline, Path, ExportRecipe, data.Examples | None], Any]


class Work:
    """One run: what its phases share, made when the first of them needs it."""

    def __init__(
        self,
        recipe: Recipe,
        folder: RunFolder,
        cluster: Cluster,
        data_dir: str | None,
        download: bool,
        checkpoint_steps: int,
        log_seconds: float,
        token_cache: data.TokenCache | None = None,
    ) -> None:
        self.recipe = recipe
        self.folder = folder
        self.cluster = cluster
        self.strategy = cluster.strategy
        self.data_dir = data_dir
        self.download = download
        self.checkpoint_steps = checkpoint_steps
        self.log_seconds = log_seconds
        self.token_cache = token_cache

    @functools.cached_property
    def splits(self) -> data.Splits:
        """The data, checked to be that of the run's first process."""
        splits = preparation.load_splits(self.recipe, self.data_dir, self.download)
        sizes = {name: len(getattr(splits, name)) for name in ("train", "validation", "test")}
        found = {
            "description": splits.description,
            "fingerprint": data.fingerprint(splits),
            "sizes": sizes,
            "dropped": splits.dropped,
            "notes": splits.notes,
            "class_names": list(splits.class_names),
        }
        before = self.folder.run().get("data", found)
        if before["fingerprint"] != found["fingerprint"]:
            raise ValueError(
                f"The data of {self.recipe.data.source} has changed since this run began; give another --run_dir, or "
                f"--overwrite to begin anew. Received: {found['fingerprint']} instead of {before['fingerprint']}"
            )
        self.folder.record(data=found)
        logger.info("data: %s", splits.description)
        logger.info("data: %s", ", ".join(f"{count} for {name}" for name, count in sizes.items()))
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

    @property
    def vocabulary(self) -> Path:
        """Where a vocabulary that was learned is kept."""
        return self.folder.checkpoints.folder / "vocabulary"

    @functools.cached_property
    def start(self) -> Recipe:
        """The recipe of the fine-tuning: it starts from what was pretrained, if anything was."""
        if not self.recipe.pretrain.wanted:
            return self.recipe
        if not self.folder.pretrained.is_dir() or self.cluster.size > 1:
            # Other workers do not see the chief's disk: all of them bring back what they learned together.
            self.pretraining.run()
            self.pretraining.save(self.folder.pretrained)
        init = dataclasses.replace(self.recipe.model, init=str(self.folder.pretrained))
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
        config = model.encoder.config
        logger.info(
            "model: %s, %d layers of %d, %s parameters, of which %s are trained",
            self.start.model.init,
            config.num_layers,
            config.hidden_dim,
            f"{model.count_params():,}",
            f"{sum(math.prod(v.shape) for v in model.trainable_variables):,}",
        )
        return TextPipeline(model, packer, self.splits.class_names)

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
        together = recipe.train.accumulation_steps
        updates = updates_per_epoch(plan.steps_per_epoch, together)
        total = updates * recipe.train.epochs
        logger.info(
            "%d rows of %.0f tokens on average, %d steps an epoch, %d in all%s",
            len(rows),
            rows.lengths.mean(),
            plan.steps_per_epoch,
            plan.steps_per_epoch * recipe.train.epochs,
            "" if together == 1 else f", in {total} updates",
        )
        wanted = recipe.optimizer
        with self.strategy.scope():
            model = DistributedModel(pipeline.model, examples_per_step=len(rows) / updates)
            model.compile(
                optimizers.create(
                    pipeline.model,
                    learning_rate=wanted.learning_rate,
                    total_steps=total,
                    warmup_fraction=wanted.warmup_fraction,
                    weight_decay=wanted.weight_decay,
                    layer_decay=wanted.layer_decay,
                    clip_norm=wanted.clip_norm,
                    ema_decay=recipe.train.ema_decay,
                    sparse_embeddings=wanted.sparse_embeddings,
                ),
                losses.for_kind(recipe.model.kind, label_smoothing=recipe.train.label_smoothing),
                metrics=[_metric(recipe.model.kind)],
                batch_loss=True,
                product_dtype=recipe.train.product_dtype,
                compiled_elementwise=recipe.train.compiled_elementwise,
                accumulation_steps=together,
            )
        validation = self.splits.validation
        validation_rows = data.encode(pipeline.packer, validation.texts, cache=self.token_cache)

        def validate() -> dict[str, float]:
            logits = score_rows(model, validation_rows, recipe.train.tokens_per_batch, pipeline.packer.pad_id)
            return judging.measure(recipe.model.kind, logits, validation.labels)

        monitor = recipe.train.monitor
        if monitor == "auto":
            monitor = "accuracy" if recipe.model.kind == "single_label" else "loss"
        curriculum = preparation.make_curriculum(recipe, pipeline.packer, rows, plan)
        return Fit(
            model,
            TextBatches(rows, part.labels, preparation.weigh(recipe, part), plan, curriculum),
            validate,
            monitor,
            recipe.train,
            self.folder.checkpoints,
            {name: ScalarWriter(self.folder.logs / name) for name in ("train", "validation") if self.cluster.is_chief},
            self.checkpoint_steps,
            self.log_seconds,
            self.cluster,
        )

    def help(self) -> None:
        """Do the share of a worker that is not the chief, in the order in which the chief does its own."""
        todo = self.cluster.value_from_chief(list)
        if "pretrain" in todo:
            self.pretraining.run()
        if any(name in todo for name in ("train", "evaluate", "save")):
            self.fit.run()
        if "evaluate" in todo:
            judging.score(self.recipe, self.splits, self.pipeline, self.fit.model, self.log_seconds, self.token_cache)
        logger.info("worker %d has done its share; the chief finishes", self.cluster.index)
        self.cluster.barrier()

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

    def train(self) -> None:
        """Train to the end; the pipeline then has the weights of the best validation."""
        done = self.fit.run()
        self.folder.record(
            training={
                "steps": self.fit.global_step,
                "best_step": done.best_step,
                "stopped_early": done.stopped_early,
                "seconds": round(done.seconds, 2),
                "weights_sha256": state.weights_digest(self.pipeline.model),
                "final_state_sha256": state.digest(self.folder.checkpoints.load_latest().tensors),
            }
        )

    def evaluate(self) -> None:
        """Write metrics.json, and what the report needs of the same scores."""
        if self.fit.state.best_step is None:
            self.fit.run()  # a process that trained has ended; its last checkpoint has it all
        metrics, shown = judging.judge(
            self.recipe, self.splits, self.pipeline, self.fit.model, self.log_seconds, self.token_cache
        )
        faults.reach("evaluate")
        write_json(self.folder.scores, shown)
        write_json(self.folder.metrics, metrics)
        for line in judging.summary(metrics):
            logger.info("%s", line)

    def save(self) -> None:
        """Write model/, with the temperature and, for many labels, the thresholds found on the validation part."""
        if self.fit.state.best_step is None:
            self.fit.run()
        pipeline, metrics = self._local_pipeline(), read_json(self.folder.metrics)
        pipeline.temperature = metrics.get("temperature", 1.0)
        if self.recipe.model.kind == "multi_label":
            pipeline.threshold = metrics["threshold"]["scaled_value"]
        pipeline.check_texts = choose_check_texts(self.splits.validation.texts)
        faults.reach("save")
        pipeline.save(self.folder.model)

    def _local_pipeline(self) -> TextPipeline:
        """The pipeline with a model that predicts without the other workers, and has no adapters."""
        pipeline = self.pipeline
        if self.cluster.size == 1 and self.recipe.train.lora_rank is None:
            return pipeline
        return TextPipeline(without_adapters(pipeline.model), pipeline.packer, pipeline.class_names)

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

    def report(self) -> None:
        """Write report.html."""
        record, shown = self.folder.run(), read_json(self.folder.scores)
        history = self.folder.checkpoints.load_latest().state
        process = record["processes"][-1]
        versions = process["versions"]
        training = record["training"]
        evaluation.write_report(
            self.folder.report,
            {
                "title": f"{self.recipe.model.init} on {self.recipe.data.source}",
                "summary": {
                    "Data": record["data"]["description"],
                    "Texts": ", ".join(f"{count} {name}" for name, count in record["data"]["sizes"].items()),
                    "Start": self.recipe.model.init,
                    "Steps": f"{training['steps']}, best after {training['best_step']}",
                    "Training time": format_seconds(training["seconds"]),
                    "Machine": f"{process['machine']['processor']}, {process['machine']['cores']} cores",
                    "Versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
                },
                "metrics": read_json(self.folder.metrics),
                "history": {"steps": history["steps"], "epochs": history["epochs"]},
                "recipe": self.recipe.to_dict(),
                **shown,
            },
        )

    def export(self, export: Export) -> None:
        """Write export/ anew."""
        shutil.rmtree(self.folder.export, ignore_errors=True)  # of a process that was killed
        faults.reach("export")
        faults.reach_when_written("export:writing", self.folder.export)
        recipe = self.recipe.export
        held_out = subset(self.splits.test, recipe.held_out, self.recipe.seed) if recipe.held_out else None
        export(self.saved, self.folder.export, recipe, held_out)


def _metric(kind: str) -> keras.metrics.Metric:
    if kind == "single_label":
        return keras.metrics.SparseCategoricalAccuracy("accuracy")
    if kind == "multi_label":
        return keras.metrics.BinaryAccuracy("accuracy", threshold=0.0)
    return keras.metrics.RootMeanSquaredError("rmse")
