"""Heads: one label of many, many labels at once, and regression."""

from typing import Any

import keras
from keras import ops

from keras_transformer import layers, losses
from keras_transformer.layers.parts import check_choice, check_positive
from keras_transformer.models.encoder import TransformerEncoder
from keras_transformer.optimizers import AdamW

KINDS = ("single_label", "multi_label", "regression")
POOLING = ("mean", "first")


def probabilities(logits, kind: str):
    """Turns logits into what a user reads: softmax, sigmoid, or for regression the values themselves.

    Args:
        logits: Float tensor of shape (batch, num_outputs).
        kind: One of `KINDS`.

    Returns:
        Float32 tensor of the same shape.

    Raises:
        ValueError: For an unknown kind.

    Example:
        ```python
        from keras_transformer.models import probabilities

        assert abs(float(probabilities([[0.0, 0.0]], "single_label")[0, 0]) - 0.5) < 1e-6
        ```
    """
    check_choice("kind", kind, KINDS)
    logits = ops.cast(logits, "float32")
    return {"single_label": ops.softmax, "multi_label": ops.sigmoid, "regression": ops.copy}[kind](logits)


@keras.saving.register_keras_serializable("keras_transformer")
class TextClassifier(keras.Model):
    """An encoder, a pooling, and one dense layer that gives logits.

    Args:
        encoder: `TransformerEncoder`, or its `get_config()` dict. With `pooling="first"` and `config.pooler` the
            head reads `pooled_output`.
        num_outputs: Number of classes, labels, or regressed values.
        kind: "single_label" (default), "multi_label" or "regression".
        pooling: "mean" (default) over the real tokens, or "first" token.
        dropout: Dropout rate before the dense layer. Default 0.1.
        name: Name of the model. Default "text_classifier".
        trainable: Whether the weights are trained. Default True.

    Call arguments:
        inputs: The dict that the encoder takes.

    Returns:
        Dict with `logits`, float32 of shape (batch, num_outputs).

    Raises:
        ValueError: For an unknown kind or pooling, or fewer than two outputs of a single label.

    Example:
        ```python
        import numpy as np
        from keras_transformer.layers import AttentionConfig, FeedForwardConfig
        from keras_transformer.models import EncoderConfig, TextClassifier, TransformerEncoder

        config = EncoderConfig(
            vocabulary_size=100, hidden_dim=32, num_layers=2,
            attention=AttentionConfig(num_heads=4), feed_forward=FeedForwardConfig(intermediate_dim=64),
        )
        model = TextClassifier(TransformerEncoder(config), num_outputs=3)
        model.default_compile(learning_rate=1e-3)
        ids = np.random.randint(1, 100, (8, 12)).astype("int32")
        inputs = {"token_ids": ids, "segment_ids": ids * 0, "padding_mask": ids * 0 + 1}
        model.fit(inputs, {"logits": np.arange(8) % 3}, verbose=0)
        assert model.predict(inputs, verbose=0)["logits"].shape == (8, 3)
        ```
    """

    def __init__(
        self,
        encoder: TransformerEncoder | dict,
        num_outputs: int,
        kind: str = "single_label",
        pooling: str = "mean",
        dropout: float = 0.1,
        *,
        name: str = "text_classifier",
        trainable: bool = True,
    ):
        check_positive("num_outputs", num_outputs)
        check_choice("kind", kind, KINDS)
        check_choice("pooling", pooling, POOLING)
        if kind == "single_label" and num_outputs < 2:
            raise ValueError(
                "single_label needs at least two outputs, one per class. "
                f"Use kind='multi_label' for one yes-or-no label. Received: num_outputs={num_outputs}"
            )
        if isinstance(encoder, dict):
            encoder = TransformerEncoder.from_config(encoder)
        policy = {"dtype": encoder.embeddings.dtype_policy}

        # Layers
        self.encoder = encoder
        self.pool = {"mean": layers.MeanPooling, "first": layers.FirstTokenPooling}[pooling](name="pool", **policy)
        self.head_dropout = layers.Dropout(dropout, name="head_dropout", **policy)
        self.head = layers.Dense(num_outputs, name="head", dtype="float32")
        self._uses_pooler = pooling == "first" and encoder.pooler is not None

        # Graph
        inputs = {
            key: keras.Input((None,), dtype="int32", name=key) for key in ("token_ids", "segment_ids", "padding_mask")
        }
        sequence = encoder(inputs)["sequence_output"]
        logits = self.classify(sequence, inputs["padding_mask"])
        super().__init__(inputs=inputs, outputs={"logits": logits}, name=name, trainable=trainable)

        # Config
        self.num_outputs = num_outputs
        self.kind = kind
        self.pooling = pooling
        self.dropout = dropout

    def classify(self, sequence_output, padding_mask, training: bool | None = None):
        """Returns logits, float32 of shape (batch, num_outputs), for the hidden states of the encoder."""
        pooled = self.pool(sequence_output, padding_mask)
        if self._uses_pooler:
            pooled = self.encoder.pooler(pooled)
        return self.head(self.head_dropout(pooled, training=training))

    def default_compile(self, learning_rate: Any = 5e-5, **kwargs) -> None:
        """Compiles with AdamW, the loss of the kind of label, and its metric.

        Args:
            learning_rate: Float or `keras.optimizers.schedules.LearningRateSchedule`. Default 5e-5.
            **kwargs: Arguments of `keras.Model.compile` that replace the defaults.
        """
        metric = {
            "single_label": keras.metrics.SparseCategoricalAccuracy("accuracy"),
            "multi_label": keras.metrics.BinaryAccuracy("accuracy", threshold=0.0),
            "regression": keras.metrics.RootMeanSquaredError("rmse"),
        }[self.kind]
        defaults = {
            "optimizer": AdamW(learning_rate, weight_decay=0.01, global_clipnorm=1.0),
            "loss": {"logits": losses.for_kind(self.kind)},
            "metrics": {"logits": [metric]},
        }
        self.compile(**defaults | kwargs)

    def get_config(self) -> dict:
        """Returns the constructor arguments."""
        return {
            "encoder": self.encoder.get_config(),
            "num_outputs": self.num_outputs,
            "kind": self.kind,
            "pooling": self.pooling,
            "dropout": self.dropout,
            "name": self.name,
            "trainable": self.trainable,
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None) -> "TextClassifier":
        """Builds the model from `get_config`."""
        return cls(**config)
