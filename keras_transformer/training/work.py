"""What a run of one task and a run of many have in common: the model's start, its training, and what is kept of it."""

import abc
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from keras_transformer import data, optimizers
from keras_transformer.models import without_adapters
from keras_transformer.pipelines import TextPipeline
from keras_transformer.pipelines.check_texts import choose_check_texts
from keras_transformer.text import TextPacker
from keras_transformer.training import faults, judging, reporting, state
from keras_transformer.training.batches import Batches
from keras_transformer.training.cluster import Cluster
from keras_transformer.training.distributed import DistributedModel
from keras_transformer.training.files import write_json
from keras_transformer.training.fitting import Fit, updates_per_epoch
from keras_transformer.training.recipe import Recipe
from keras_transformer.training.run_folder import RunFolder
from keras_transformer.training.scalars import ScalarWriter
from keras_transformer.training.sections import ExportRecipe
from keras_transformer.training.word_start import start_from_words

logger = logging.getLogger(__name__)

Export = Callable[[TextPipeline, Path, ExportRecipe, data.Examples | None], Any]
Phases = dict[str, tuple[Callable[[], None], Path]]


class BaseWork(abc.ABC):
    """One run: what its phases share, made when the first of them needs it.

    Args:
        recipe: `Recipe`.
        folder: `RunFolder`, open.
        cluster: `Cluster`.
        data_dir: str or None, folder of prepared data.
        download: bool, whether the data may be downloaded.
        checkpoint_steps: int, steps between checkpoints within an epoch.
        log_seconds: float, seconds between progress lines where there is no terminal.
        token_cache: `data.TokenCache` that keeps the tokenized texts, or None (default).
    """

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

    @property
    @abc.abstractmethod
    def model(self) -> keras.Model:
        """The model whose weights are trained."""

    @property
    @abc.abstractmethod
    def fit(self) -> Fit:
        """The training, ready to start or to go on."""

    @abc.abstractmethod
    def judge(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the content of metrics.json, and of the part of report.json that comes from the same scores."""

    @abc.abstractmethod
    def score(self) -> None:
        """Help the chief to score what it judges."""

    @abc.abstractmethod
    def phases(self, pretrain_only: bool, export: Export | None) -> Phases:
        """Return the phases in their order: what each does, and what it leaves."""

    @property
    def start(self) -> Recipe:
        """The recipe of the fine-tuning."""
        return self.recipe

    @property
    def vocabulary(self) -> Path:
        """Where a vocabulary that was learned is kept."""
        return self.folder.checkpoints.folder / "vocabulary"

    def note_data(self, found: dict[str, Any], source: str) -> None:
        """Check that the data is that of the run's first process, and note in run.json what it is."""
        before = self.folder.run().get("data", found)
        if before["fingerprint"] != found["fingerprint"]:
            raise ValueError(
                f"The data of {source} has changed since this run began; give another --run_dir, or "
                f"--overwrite to begin anew. Received: {found['fingerprint']} instead of {before['fingerprint']}"
            )
        self.folder.record(data=found)
        logger.info("data: %s", found["description"])
        logger.info("data: %s", ", ".join(f"{count} for {name}" for name, count in found["sizes"].items()))

    def begin(self, model: Any, packer: TextPacker, texts: Iterable[str]) -> None:
        """Put word vectors into a new model with an encoder, if they are wanted, and log what the model is."""
        words = start_from_words(self.start, model.encoder, packer, texts, self.vocabulary.parent)
        if words is not None:
            self.folder.record(word_vectors=words)
            self.cluster.check_same("word vectors", words["fingerprint"])
        config = model.encoder.config
        logger.info(
            "model: %s, %d layers of %d, %s parameters, of which %s are trained",
            self.start.model.init,
            config.num_layers,
            config.hidden_dim,
            f"{model.count_params():,}",
            f"{sum(math.prod(v.shape) for v in model.trainable_variables):,}",
        )

    def compiled(
        self,
        model: keras.Model,
        examples_per_step: float | Mapping[str, float],
        batches: Batches,
        loss: keras.losses.Loss | Mapping[str, keras.losses.Loss],
        **metrics: Any,
    ) -> DistributedModel:
        """Return what trains a model; call it under the strategy's scope.

        Args:
            model: `keras.Model`.
            examples_per_step: float or dict, as for `DistributedModel`.
            batches: `Batches` that it is trained on.
            loss: loss, or dict of losses by output.
            **metrics: `metrics` and `weighted_metrics` of `DistributedModel.compile`.
        """
        recipe, wanted = self.recipe, self.recipe.optimizer
        distributed = DistributedModel(model, examples_per_step)
        distributed.compile(
            optimizers.create(
                model,
                learning_rate=wanted.learning_rate,
                total_steps=self.updates(batches) * recipe.train.epochs,
                warmup_fraction=wanted.warmup_fraction,
                weight_decay=wanted.weight_decay,
                layer_decay=wanted.layer_decay,
                clip_norm=wanted.clip_norm,
                ema_decay=recipe.train.ema_decay,
                sparse_embeddings=wanted.sparse_embeddings,
            ),
            loss,
            **metrics,
            batch_loss=True,
            product_dtype=recipe.train.product_dtype,
            compiled_elementwise=recipe.train.compiled_elementwise,
            accumulation_steps=recipe.train.accumulation_steps,
        )
        return distributed

    def updates(self, batches: Batches) -> int:
        """Return how many updates of the weights an epoch makes."""
        return updates_per_epoch(batches.steps_per_epoch, self.recipe.train.accumulation_steps)

    def loop(
        self, model: DistributedModel, batches: Batches, validate: Callable[[], dict[str, float]], best_by: str
    ) -> Fit:
        """Return the training loop.

        Args:
            model: `DistributedModel`, compiled.
            batches: `Batches`.
            validate: function that scores the validation part.
            best_by: str, what decides which state is the best one, where the recipe does not say so.
        """
        monitor = self.recipe.train.monitor
        return Fit(
            model,
            batches,
            validate,
            best_by if monitor == "auto" else monitor,
            self.recipe.train,
            self.folder.checkpoints,
            {name: ScalarWriter(self.folder.logs / name) for name in ("train", "validation") if self.cluster.is_chief},
            self.checkpoint_steps,
            self.log_seconds,
            self.cluster,
        )

    def tell(self, lengths: Any, batches: Batches) -> None:
        """Log what the training reads: the lengths of its rows, and its steps."""
        steps, epochs = batches.steps_per_epoch, self.recipe.train.epochs
        together = self.recipe.train.accumulation_steps
        logger.info(
            "%d rows of %.0f tokens on average, %d steps an epoch, %d in all%s",
            len(lengths),
            lengths.mean(),
            steps,
            steps * epochs,
            "" if together == 1 else f", in {self.updates(batches) * epochs} updates",
        )

    def help(self) -> None:
        """Do the share of a worker that is not the chief, in the order in which the chief does its own."""
        self.help_with(self.cluster.value_from_chief(list))
        logger.info("worker %d has done its share; the chief finishes", self.cluster.index)
        self.cluster.barrier()

    def help_with(self, todo: Sequence[str]) -> None:
        """Do a worker's share of the phases that are left to do."""
        if any(name in todo for name in ("train", "evaluate", "save")):
            self.fit.run()
        if "evaluate" in todo:
            self.score()

    def train(self) -> None:
        """Train to the end; the model then has the weights of the best validation."""
        done = self.fit.run()
        self.folder.record(
            training={
                "steps": self.fit.global_step,
                "best_step": done.best_step,
                "stopped_early": done.stopped_early,
                "seconds": round(done.seconds, 2),
                "weights_sha256": state.weights_digest(self.model),
                "final_state_sha256": state.digest(self.folder.checkpoints.load_latest().tensors),
            }
        )

    def trained(self) -> Fit:
        """Return the training at its end, also in a process that found it finished."""
        if self.fit.state.best_step is None:
            self.fit.run()  # a process that trained has ended; its last checkpoint has it all
        return self.fit

    def evaluate(self) -> None:
        """Write metrics.json, and what the report needs of the same scores."""
        self.trained()
        metrics, shown = self.judge()
        faults.reach("evaluate")
        write_json(self.folder.scores, shown)
        write_json(self.folder.metrics, metrics)
        for line in judging.summary(metrics):
            logger.info("%s", line)

    def report(self) -> None:
        """Write report.html."""
        reporting.write(self.folder, self.recipe)

    def calibrated(self, pipeline: TextPipeline, metrics: Mapping[str, Any], validation: data.Examples) -> TextPipeline:
        """Return a pipeline as it is saved: its model predicts without the other workers, and has no adapters.

        Args:
            pipeline: `TextPipeline`, trained.
            metrics: mapping, as in metrics.json: the temperature and, for many labels, the thresholds.
            validation: `data.Examples`, of which some texts are stored with it.
        """
        if self.cluster.size > 1 or self.recipe.train.lora_rank is not None:
            pipeline = TextPipeline(without_adapters(pipeline.model), pipeline.packer, pipeline.class_names)
        pipeline.temperature = metrics.get("temperature", 1.0)
        if pipeline.kind == "multi_label":
            pipeline.threshold = metrics["threshold"]["scaled_value"]
        pipeline.check_texts = choose_check_texts(validation.texts)
        return pipeline


def facts_of(splits: data.Splits) -> dict[str, Any]:
    """Return what run.json says of the data."""
    return {
        "description": splits.description,
        "fingerprint": data.fingerprint(splits),
        "sizes": {name: len(getattr(splits, name)) for name in ("train", "validation", "test")},
        "dropped": splits.dropped,
        "notes": splits.notes,
        "class_names": list(splits.class_names),
    }


def metric_of(kind: str, prefix: str = "") -> keras.metrics.Metric:
    """Return the metric that a training step shows for a kind of label, with a prefix before its name."""
    if kind == "single_label":
        return keras.metrics.SparseCategoricalAccuracy(f"{prefix}accuracy")
    if kind == "multi_label":
        return keras.metrics.BinaryAccuracy(f"{prefix}accuracy", threshold=0.0)
    return keras.metrics.RootMeanSquaredError(f"{prefix}rmse")
