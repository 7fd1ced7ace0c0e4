"""The phase before fine-tuning: what a model learns from text without labels."""

import functools
import logging
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras

from keras_transformer import corpus, data, losses, objectives, optimizers, pretrained
from keras_transformer.models import without_adapters
from keras_transformer.text import TextPacker
from keras_transformer.training import preparation
from keras_transformer.training.batches import ObjectiveBatches
from keras_transformer.training.checkpoints import CheckpointStore
from keras_transformer.training.cluster import Cluster
from keras_transformer.training.distributed import DistributedModel
from keras_transformer.training.files import TEMPORARY
from keras_transformer.training.fitting import Fit
from keras_transformer.training.probing import LinearProbe
from keras_transformer.training.recipe import Recipe
from keras_transformer.training.scalars import ScalarWriter
from keras_transformer.training.spikes import SpikeGuard
from keras_transformer.training.word_start import start_from_words

logger = logging.getLogger(__name__)

TOKENS_PER_PARAMETER = 20  # of a compute-optimal training (Hoffmann et al., arXiv 2203.15556)


class Pretraining:
    """Reads a corpus, learns its vocabulary, trains on it, and writes the model as a Hugging Face folder.

    Args:
        recipe: `Recipe` with a `pretrain.objective`.
        folder: `pathlib.Path` that holds what this phase needs again: the tokenized corpus and checkpoints.
        vocabulary: `pathlib.Path` of the folder where a learned vocabulary is kept.
        logs: `pathlib.Path` of the TensorBoard logs.
        splits: function that reads the labelled data, called where the corpus or the probe is made of it.
        cluster: `Cluster`.
        data_dir: str or None, folder of prepared data.
        download: bool, whether the data may be downloaded.
        checkpoint_steps: int, steps between checkpoints within an epoch.
        log_seconds: float, seconds between progress lines where there is no terminal.
    """

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        vocabulary: Path,
        logs: Path,
        splits: Any,
        cluster: Cluster,
        data_dir: str | None = None,
        download: bool = False,
        checkpoint_steps: int = 100,
        log_seconds: float = 30.0,
    ) -> None:
        self.recipe = recipe
        self.folder = folder
        self.vocabulary = vocabulary
        self.logs = logs
        self.splits = splits
        self.cluster = cluster
        self.data_dir = data_dir
        self.download = download
        self.checkpoint_steps = checkpoint_steps
        self.log_seconds = log_seconds
        self.words: dict[str, Any] | None = None

    @functools.cached_property
    def documents(self) -> corpus.Corpus:
        """What is read: the corpus, or the training texts of the labelled data and nothing of its other parts."""
        wanted = self.recipe.pretrain
        if not wanted.corpus:
            return corpus.open_corpus(self.splits().train.texts)
        return corpus.open_corpus(
            wanted.corpus, text_column=wanted.text_column, data_dir=self.data_dir, download=self.download
        )

    @functools.cached_property
    def packer(self) -> TextPacker:
        """The tokenizer, and how texts are framed."""
        return preparation.make_packer(self.recipe, _Texts(self.documents), self.vocabulary)

    @functools.cached_property
    def store(self) -> corpus.TokenStore:
        """The tokenized corpus."""
        wanted = self.recipe.pretrain
        store = corpus.prepare(
            self.documents,
            self.packer,
            self.folder / "corpus",
            near_duplicates=wanted.near_duplicates,
            held_out=wanted.held_out,
            replace=True,
        )
        self.cluster.check_same("corpus", f"{store.about['key']}/{store.num_documents}/{store.num_tokens}")
        return store

    def _objective(self, store: corpus.TokenStore, shuffle: bool) -> objectives.Objective:
        wanted = self.recipe.pretrain
        cls = objectives.OBJECTIVES[wanted.objective]
        specials = objectives.Specials.of(self.packer)
        return cls(
            store,
            specials,
            wanted.row_length,
            seed=self.recipe.seed,
            shuffle=shuffle,
            **wanted.options(self.recipe.model.pooling),
        )

    @functools.cached_property
    def fit(self) -> Fit:
        """The training, ready to start or to go on."""
        recipe, wanted, strategy = self.recipe, self.recipe.pretrain, self.cluster.strategy
        objective = self._objective(self.store, shuffle=True)
        held_out = self._held_out()
        rows = wanted.tokens_per_batch // wanted.row_length
        batches = ObjectiveBatches(objective, rows)
        total = batches.steps_per_epoch * wanted.epochs
        outputs = objective.outputs()
        # The same weights and dropout whatever was drawn before.
        keras.utils.set_random_seed(recipe.seed)
        with strategy.scope():
            model = objective.create_model(preparation.make_backbone(recipe, self.packer, objective.model_kind))
            preparation.adapt(model, wanted, "pretrain")
            texts = _Texts(self.documents)
            self.words = start_from_words(recipe, model.backbone, self.packer, texts, self.vocabulary.parent)
            trained = DistributedModel(model, {name: out.expected_weight * rows for name, out in outputs.items()})
            trained.compile(
                optimizers.create(
                    model,
                    learning_rate=wanted.learning_rate,
                    total_steps=total,
                    warmup_fraction=wanted.warmup_fraction,
                    weight_decay=wanted.weight_decay,
                    layer_decay=wanted.layer_decay,
                    clip_norm=wanted.clip_norm,
                    ema_decay=wanted.ema_decay,
                    beta_2=0.98,
                ),
                {name: out.loss for name, out in outputs.items()},
                weighted_metrics={name: [_accuracy(name, out.loss)] for name, out in outputs.items()},
                loss_weights={name: out.share for name, out in outputs.items()},
                batch_loss=True,
                product_dtype=recipe.train.product_dtype,
                compiled_elementwise=recipe.train.compiled_elementwise,
            )
        if self.words is not None:
            self.cluster.check_same("word vectors", self.words["fingerprint"])
        self._tell(model, batches, total)
        return Fit(
            trained,
            batches,
            lambda: self._validate(trained, held_out),
            "loss",
            wanted,
            CheckpointStore(self.folder / "checkpoints"),
            {
                name: ScalarWriter(self.logs / f"pretraining_{name}")
                for name in ("train", "validation")
                if self.cluster.is_chief
            },
            self.checkpoint_steps,
            self.log_seconds,
            self.cluster,
            None if wanted.spike_factor is None else SpikeGuard(wanted.spike_factor),
        )

    def _held_out(self) -> Any:
        """Return the batches that are not trained on, the same at every validation."""
        wanted = self.recipe.pretrain
        try:
            store = corpus.TokenStore.open(self.folder / "corpus" / "held_out")
            objective = self._objective(store, shuffle=False)
            rows = wanted.tokens_per_batch // wanted.row_length
            return ObjectiveBatches(objective, min(rows, objective.num_examples))
        except (FileNotFoundError, ValueError) as error:
            raise ValueError(
                f"The held-out part of the corpus is too small for a row: raise pretrain.held_out, or use more text. "
                f"Received: pretrain.held_out={wanted.held_out} ({error})"
            ) from error

    def _tell(self, model: keras.Model, batches: ObjectiveBatches, total: int) -> None:
        wanted, parameters = self.recipe.pretrain, model.backbone.count_params()
        tokens = total * batches.rows_per_batch * wanted.row_length
        logger.info(
            "pretraining: %s, %s parameters; %s rows of %d tokens, %d steps an epoch, %d in all",
            wanted.objective,
            f"{parameters:,}",
            f"{batches.objective.num_examples:,}",
            wanted.row_length,
            batches.steps_per_epoch,
            total,
        )
        logger.info(
            "%.1f tokens are read for each parameter, %.1f different ones; compute-optimal are about %d",
            tokens / parameters,
            self.store.num_tokens / parameters,
            TOKENS_PER_PARAMETER,
        )

    def _validate(self, model: DistributedModel, held_out: ObjectiveBatches) -> dict[str, float]:
        """Return loss, perplexity and accuracies on the held-out part, and the accuracy of the probe."""
        read = held_out.dataset(0, 0, held_out.steps_per_epoch)
        measured = {name: float(value) for name, value in model.evaluate(read, return_dict=True, verbose=0).items()}
        measured.pop("batch_loss", None)
        tokens = next((name for name in ("masked_loss", "next_token_loss") if name in measured), "loss")
        if self.recipe.pretrain.objective != "contrastive":
            measured["perplexity"] = math.exp(min(measured[tokens], 700.0))
        if self.probe is not None:
            measured["probe_accuracy"] = self.probe.accuracy(model.model.backbone)
        return measured

    @functools.cached_property
    def probe(self) -> LinearProbe | None:
        """What shows at every validation whether it is worth going on; None where there are no labels."""
        count = self.recipe.pretrain.probe_examples
        if not count:
            return None
        if self.cluster.size > 1:
            logger.warning("no probes: they are made by one worker alone, and there are %d", self.cluster.size)
            return None
        splits = self.splits()
        parts = [data.splitting.subset(part, count, self.recipe.seed) for part in (splits.train, splits.validation)]
        return LinearProbe(self.packer, *parts)

    def run(self) -> dict[str, Any]:
        """Train to the end, from the newest checkpoint if there is one.

        Returns:
            What run.json says of it.
        """
        done = self.fit.run()
        best = done.epochs["val_loss"].index(min(done.epochs["val_loss"]))
        return {
            "steps": self.fit.global_step,
            "best_step": done.best_step,
            "seconds": round(done.seconds, 2),
            "recoveries": done.recoveries,
            "corpus": {name: self.store.about[name] for name in ("source", "dropped", "skipped", "notes")}
            | {"documents": self.store.num_documents, "tokens": self.store.num_tokens},
            **({} if self.words is None else {"word_vectors": self.words}),
            "validation": {
                name.removeprefix("val_"): values[best] for name, values in done.epochs.items() if "val_" in name
            },
            "history": {"steps": done.steps, "epochs": done.epochs},
        }

    def save(self, folder: Path) -> None:
        """Write the model without the heads of the objective, and its tokenizer; the folder appears whole."""
        temporary = folder.with_name(f"{TEMPORARY}{folder.name}")
        shutil.rmtree(temporary, ignore_errors=True)  # of a process that was killed
        backbone = self.fit.model.model.backbone
        if self.recipe.pretrain.lora_rank is not None:
            backbone = without_adapters(backbone)
        pretrained.save_huggingface(backbone, self.packer, temporary)
        shutil.rmtree(folder, ignore_errors=True)
        temporary.replace(folder)


class _Texts:
    """The texts of a corpus, which can be read again."""

    def __init__(self, documents: corpus.Corpus) -> None:
        self._documents = documents

    def __iter__(self) -> Iterator[str]:
        return (document.text for document in self._documents)


def _accuracy(name: str, loss: keras.losses.Loss) -> keras.metrics.Metric:
    if isinstance(loss, losses.BinaryLoss):
        return keras.metrics.BinaryAccuracy(f"{name}_accuracy", threshold=0.0)
    return keras.metrics.SparseCategoricalAccuracy(f"{name}_accuracy")
