"""`TextPipeline`: from raw texts to labels, and back to disk."""

import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_transformer import _files, data, losses, pretrained
from keras_transformer.models import TextClassifier, probabilities
from keras_transformer.pipelines.check_texts import (
    CHECK_TEXTS,
    HARD_TEXTS,
    choose_check_texts,
    read_check_texts,
    write_check_texts,
)
from keras_transformer.pipelines.checks import (
    CLASSIFICATION,
    SETTINGS_FILE,
    check_target,
    check_task,
    check_texts,
    damaged,
    read_settings,
)
from keras_transformer.pipelines.fitting import fit
from keras_transformer.pipelines.scoring import score_rows
from keras_transformer.text import TextPacker

FORMAT = 1


class TextPipeline:
    """A classifier, the packer that feeds it, and the names of its outputs.

    Args:
        model: `TextClassifier`.
        packer: `TextPacker` with the vocabulary of the model.
        class_names: One name per output; None numbers them.
        temperature: Logits are divided by it before the softmax or sigmoid. Default 1.
        threshold: Probability from which a label of a multi-label model counts as given: one for all labels, or one
            for each. Default 0.5.

    Raises:
        ValueError: If names, vocabulary or length do not fit the model.

    Example:
        ```python
        from keras_transformer import TextPipeline
        from keras_transformer.layers import AttentionConfig, FeedForwardConfig
        from keras_transformer.models import EncoderConfig, TextClassifier, TransformerEncoder
        from keras_transformer.text import TextPacker, WordPieceTokenizer

        tokenizer = WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad"])
        config = EncoderConfig(
            vocabulary_size=7, hidden_dim=32, num_layers=1, max_length=16,
            attention=AttentionConfig(num_heads=2), feed_forward=FeedForwardConfig(intermediate_dim=64),
        )
        model = TextClassifier(TransformerEncoder(config), num_outputs=2)
        pipeline = TextPipeline(model, TextPacker(tokenizer, max_length=16), ["negative", "positive"])
        assert set(pipeline.predict(["good"])[0]["probabilities"]) == {"negative", "positive"}
        ```
    """

    def __init__(
        self,
        model: TextClassifier,
        packer: TextPacker,
        class_names: Sequence[str] | None = None,
        *,
        temperature: float = 1.0,
        threshold: float | Sequence[float] = 0.5,
    ):
        class_names = tuple(str(i) for i in range(model.num_outputs)) if class_names is None else tuple(class_names)
        if len(class_names) != model.num_outputs:
            raise ValueError(
                f"class_names must name each of the model's {model.num_outputs} outputs. Received: {list(class_names)}"
            )
        config = model.encoder.config
        if packer.tokenizer.vocabulary_size > config.vocabulary_size:
            raise ValueError(
                "The packer's vocabulary does not fit the model's token table. "
                f"Received: {packer.tokenizer.vocabulary_size} tokens for {config.vocabulary_size} rows"
            )
        if packer.max_length > config.max_length:
            raise ValueError(
                f"The packer's max_length must be at most the model's {config.max_length} positions. "
                f"Received: max_length={packer.max_length}"
            )
        if not temperature > 0:
            raise ValueError(f"temperature must be above 0. Received: {temperature!r}")
        self.model = model
        self.packer = packer
        self.class_names = class_names
        self.temperature = float(temperature)
        self.threshold = threshold
        self.check_texts: list[str] = list(HARD_TEXTS)

    @property
    def threshold(self) -> float | tuple[float, ...]:
        """Probability from which a label counts as given; a tuple where each label has its own."""
        return self._threshold

    @threshold.setter
    def threshold(self, value: float | Sequence[float]) -> None:
        values = np.asarray(value, float)
        if values.shape not in ((), (len(self.class_names),)) or not ((values >= 0) & (values <= 1)).all():
            raise ValueError(
                f"threshold must be from 0 to 1, one for all or one for each of the {len(self.class_names)} labels. "
                f"Received: {value!r}"
            )
        self._threshold = float(values) if values.ndim == 0 else tuple(values.tolist())

    @property
    def kind(self) -> str:
        """Kind of label: "single_label", "multi_label" or "regression"."""
        return self.model.kind

    @classmethod
    def from_pretrained(
        cls,
        init: str | os.PathLike = "minilm",
        class_names: Sequence[str] = ("negative", "positive"),
        *,
        kind: str = "single_label",
        pooling: str = "mean",
        max_length: int | None = None,
        truncation: str = "head",
        **encoder_options: Any,
    ) -> "TextPipeline":
        """Puts a new head on pretrained weights; it needs `fit` before it says anything.

        Args:
            init: "minilm", a folder, or "hf:OWNER/NAME"; see `pretrained.resolve`.
            class_names: Names of the outputs.
            kind: "single_label", "multi_label" or "regression".
            pooling: "mean" or "first".
            max_length: Longest input in tokens; None means as many as the model has positions.
            truncation: "head", "head_tail" or "windows"; see `TextPacker`.
            **encoder_options: Arguments of `pretrained.load_encoder` that change the checkpoint's encoder: `dropout`,
                `attention_dropout`, `num_layers`, ...

        Returns:
            The pipeline.
        """
        folder = pretrained.resolve(init)
        # A pooler that no head reads would be carried along untrained.
        encoder_options.setdefault("pooler", False if pooling == "mean" else None)
        encoder = pretrained.load_encoder(folder, **encoder_options)
        packer = pretrained.load_packer(
            folder, max_length=max_length or encoder.config.max_length, truncation=truncation
        )
        model = TextClassifier(encoder, num_outputs=len(class_names), kind=kind, pooling=pooling)
        return cls(model, packer, class_names)

    def fit(
        self,
        train: data.Examples,
        validation: data.Examples | None = None,
        *,
        epochs: int = 3,
        learning_rate: float = 5e-5,
        tokens_per_batch: int = 4096,
        packing: bool = False,
        weight_decay: float = 0.01,
        layer_decay: float = 1.0,
        label_smoothing: float = 0.0,
        class_weights: dict[str, float] | str | None = None,
        seed: int = 0,
        verbose: int | str = "auto",
        callbacks: Sequence[keras.callbacks.Callback] = (),
    ) -> "TextPipeline":
        """Fine-tunes with AdamW, warm-up and linear decay; the best epoch by the validation loss is kept.

        Args:
            train: Labelled texts.
            validation: Labelled texts that choose the best epoch; None keeps the last.
            epochs: Passes over the training texts. Default 3.
            learning_rate: Peak learning rate. Default 5e-5.
            tokens_per_batch: Token budget of a batch, padding included. Default 4096.
            packing: Whether several whole texts share a row of the longest length instead of texts of similar length a
                batch. Each counts as it does alone; it pays for many short texts. Default False.
            weight_decay: Decoupled weight decay. Default 0.01.
            layer_decay: Factor of the learning rate from each layer to the one below. Default 1.
            label_smoothing: Share of the target spread over all classes. Default 0.
            class_weights: Weight of each class by name, "balanced", or None.
            seed: Seed of the order of the examples.
            verbose: As in `keras.Model.fit`.
            callbacks: Further Keras callbacks. With packing, their `model` is one around the pipeline's, its
                `classifier`.

        Returns:
            The pipeline itself.

        Raises:
            ValueError: For an unknown class, or packing with a model that takes one text a row only.
        """
        fit(
            self,
            train,
            validation,
            epochs=epochs,
            learning_rate=learning_rate,
            tokens_per_batch=tokens_per_batch,
            packing=packing,
            weight_decay=weight_decay,
            layer_decay=layer_decay,
            label_smoothing=label_smoothing,
            class_weights=class_weights,
            seed=seed,
            verbose=verbose,
            callbacks=callbacks,
        )
        held_out = validation.texts if validation is not None else []
        self.check_texts = choose_check_texts(held_out if len(held_out) >= CHECK_TEXTS else [*held_out, *train.texts])
        return self

    def logits(self, texts: Sequence[str]) -> np.ndarray:
        """Scores raw texts.

        Args:
            texts: The texts; those over the limit are cut or windowed as the packer does.

        Returns:
            Float32 array of shape (len(texts), num_outputs).
        """
        texts = check_texts(texts)
        if not texts:
            return np.zeros((0, self.model.num_outputs), np.float32)
        return score_rows(self.model, data.encode(self.packer, texts), pad_id=self.packer.pad_id)

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """Returns the calibrated probabilities, or regressed values, float32 of shape (len(texts), num_outputs)."""
        return self.probabilities_of(self.logits(texts))

    def probabilities_of(self, logits: np.ndarray) -> np.ndarray:
        """Turns logits into calibrated probabilities, or regressed values."""
        scale = 1.0 if self.kind == "regression" else self.temperature
        return np.array(probabilities(np.asarray(logits) / scale, self.kind))

    def predict(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        """Labels raw texts.

        Args:
            texts: The texts.

        Returns:
            A dict per text. Single label: `label`, `score` (its probability) and `probabilities` by name. Many
            labels: `labels` at or above the threshold, and `probabilities`. Regression: `values` by name.
        """
        return [self._answer(row) for row in self.probabilities(texts)]

    def _answer(self, row: np.ndarray) -> dict[str, Any]:
        named = {name: float(value) for name, value in zip(self.class_names, row, strict=True)}
        if self.kind == "regression":
            return {"values": named}
        if self.kind == "multi_label":
            thresholds = np.broadcast_to(self.threshold, row.shape)
            given = [
                name for name, value, least in zip(self.class_names, row, thresholds, strict=True) if value >= least
            ]
            return {"labels": given, "probabilities": named}
        label = self.class_names[int(row.argmax())]
        return {"label": label, "score": named[label], "probabilities": named}

    def evaluate(self, texts: Sequence[str], labels: Sequence[Any]) -> dict[str, float]:
        """Compares with known labels.

        Args:
            texts: The texts.
            labels: Names or numbers of the classes; for many labels or regression one row per text.

        Returns:
            `loss`, and `accuracy` (of single labels: share of right texts; of many: share of right yes-or-no
            decisions) or `rmse`.
        """
        known, _, _ = data.encode_labels(
            list(labels), [f"text {i}" for i in range(len(texts))], self.kind, self.class_names
        )
        scored = self.logits(texts)
        known = np.asarray(known, np.int32 if self.kind == "single_label" else np.float32)
        loss = float(np.mean(np.array(losses.for_kind(self.kind)(known, scored))))
        if self.kind == "regression":
            return {"loss": loss, "rmse": float(np.sqrt(np.mean((scored - known) ** 2)))}
        right = scored.argmax(1) == known if self.kind == "single_label" else (scored >= 0) == (known >= 0.5)
        return {"loss": loss, "accuracy": float(np.mean(right))}

    def save(self, folder: str | os.PathLike) -> None:
        """Writes model, vocabulary, names and check texts into one folder, whole or not at all.

        Args:
            folder: Created, or replaced if it holds a saved pipeline.

        Raises:
            FileExistsError: If the folder holds anything else.
        """
        folder = pathlib.Path(folder)
        check_target(folder)
        logits = self.logits(self.check_texts)
        with _files.new_folder(folder) as new:
            self.model.save(new / "model.keras")
            self.packer.save(new)
            settings = {
                "format": FORMAT,
                "task": CLASSIFICATION,
                "kind": self.kind,
                "class_names": list(self.class_names),
                "temperature": self.temperature,
                "threshold": self.threshold,
            }
            _files.write_text(new / SETTINGS_FILE, json.dumps(settings, indent=2, ensure_ascii=False) + "\n")
            write_check_texts(new, self.check_texts, logits)

    @classmethod
    def load(cls, folder: str | os.PathLike) -> "TextPipeline":
        """Reads what `save` wrote.

        Args:
            folder: The folder, or a run folder, whose `model/` is read.

        Returns:
            The pipeline.

        Raises:
            FileNotFoundError: If there is no saved pipeline.
            ValueError: If a file is damaged, or the pipeline is one for another task.
        """
        folder, settings = read_settings(pathlib.Path(folder))
        check_task(folder, settings, CLASSIFICATION)
        try:
            names = settings["class_names"]
            calibration = {key: settings[key] for key in ("temperature", "threshold")}
            check_texts = [text for text, _ in read_check_texts(folder)]
            model = keras.models.load_model(folder / "model.keras", compile=False)
        except (ValueError, OSError, KeyError, TypeError) as error:
            raise damaged(folder, error) from error
        pipeline = cls(model, TextPacker.load(folder), names, **calibration)
        pipeline.check_texts = check_texts
        return pipeline
