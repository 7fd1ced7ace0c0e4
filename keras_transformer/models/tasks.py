"""Heads: one label of many, many labels at once, and regression."""

import dataclasses
from typing import Any

import keras
import numpy as np

from keras_transformer import layers, losses, ops
from keras_transformer.layers.parts import Part, check_choice, check_positive
from keras_transformer.models.encoder import TransformerEncoder
from keras_transformer.optimizers import AdamW

KINDS = ("single_label", "multi_label", "regression")
POOLING = ("mean", "first")
PACKED_INPUTS = ("token_ids", "segment_ids", "padding_mask", "position_ids", "example_ids")


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
    logits = keras.ops.cast(logits, "float32")
    function = {"single_label": keras.ops.softmax, "multi_label": keras.ops.sigmoid, "regression": keras.ops.copy}
    return function[kind](logits)


@dataclasses.dataclass(frozen=True)
class HeadConfig(Part):
    """What stands above an encoder.

    Args:
        num_outputs: Number of classes, labels, or regressed values.
        kind: "single_label" (default), "multi_label" or "regression".
        pooling: "mean" (default) over the real tokens, or "first" token.

    Raises:
        ValueError: For an unknown kind or pooling, or fewer than two outputs of a single label.

    Example:
        ```python
        from keras_transformer.models import HeadConfig

        assert HeadConfig(num_outputs=3).to_dict() == {"num_outputs": 3, "kind": "single_label", "pooling": "mean"}
        ```
    """

    num_outputs: int
    kind: str = "single_label"
    pooling: str = "mean"

    def __post_init__(self) -> None:
        """Check the values."""
        check_positive("num_outputs", self.num_outputs)
        check_choice("kind", self.kind, KINDS)
        check_choice("pooling", self.pooling, POOLING)
        if self.kind == "single_label" and self.num_outputs < 2:
            raise ValueError(
                "single_label needs at least two outputs, one per class. "
                f"Use kind='multi_label' for one yes-or-no label. Received: num_outputs={self.num_outputs}"
            )


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
        trim_last_block: Whether, with `pooling="first"`, the last block is computed for that token only: the head reads
            no other. Its keys and values are still those of all tokens, so logits and gradients stay the same. Default
            True. A mean reads every token: there it changes nothing.
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
        trim_last_block: bool = True,
        *,
        name: str = "text_classifier",
        trainable: bool = True,
    ):
        HeadConfig(num_outputs, kind, pooling)  # which checks them
        if isinstance(encoder, dict):
            encoder = TransformerEncoder.from_config(encoder)
        policy = {"dtype": encoder.embeddings.dtype_policy}

        # Layers
        self.encoder = encoder
        self.pool = {"mean": layers.MeanPooling, "first": layers.FirstTokenPooling}[pooling](name="pool", **policy)
        self.head_dropout = layers.Dropout(dropout, name="head_dropout", **policy)
        self.head = layers.Dense(num_outputs, name="head", dtype="float32")
        self._uses_pooler = pooling == "first" and encoder.pooler is not None
        self._trims = pooling == "first" and trim_last_block

        # Graph
        inputs = {
            key: keras.Input((None,), dtype="int32", name=key) for key in ("token_ids", "segment_ids", "padding_mask")
        }
        if self._trims:
            embeddings = encoder.embed(inputs["token_ids"], inputs["segment_ids"])
            sequence = encoder.encode(embeddings, inputs["padding_mask"], places=slice(0, 1))
        else:
            sequence = encoder(inputs)["sequence_output"]
        logits = self.classify(sequence, inputs["padding_mask"])
        super().__init__(inputs=inputs, outputs={"logits": logits}, name=name, trainable=trainable)

        # Config
        self.num_outputs = num_outputs
        self.kind = kind
        self.pooling = pooling
        self.dropout = dropout
        self.trim_last_block = trim_last_block

    def packed(self, inputs: dict, num_texts: Any, training: bool | None = None) -> dict:
        """Classifies several texts in each row; every text gets the logits that it would get in a row of its own.

        Texts of a row do not see each other, and each has its own positions from 0. Dropout is drawn anew for every
        value as always; stochastic depth leaves a branch out for a row, with all its texts.

        Args:
            inputs: Dict of int32 tensors of shape (rows, length): `token_ids`, `segment_ids`, `padding_mask`,
                `position_ids` (0, 1, ... within each text), and `example_ids` (1, 2, ... for the texts of a row, one
                after the other; 0 for padding). `data.make_dataset` makes them from a `data.PackedPlan`.
            num_texts: Number of logits for each row, an int or an integer scalar tensor: the most texts in a row, or
                more.
            training: Whether dropout is active.

        Returns:
            Dict with `logits`, float32 of shape (rows, num_texts, num_outputs): those of the text with example id `i`
            at `i - 1`. What stands there for a text that a row lacks is finite and means nothing.

        Raises:
            ValueError: If an input is missing or has another shape, or, where they are NumPy arrays, the example ids do
                not fit.

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
            rows = {
                "token_ids": [[2, 17, 3, 2, 8, 9, 3, 0]],
                "position_ids": [[0, 1, 2, 0, 1, 2, 3, 0]],
                "example_ids": [[1, 1, 1, 2, 2, 2, 2, 0]],
            }
            rows = {name: np.array(ids, "int32") for name, ids in rows.items()}
            rows["padding_mask"] = (rows["example_ids"] > 0).astype("int32")
            rows["segment_ids"] = np.zeros_like(rows["token_ids"])
            together = model.packed(rows, num_texts=2)["logits"]
            ids = rows["token_ids"][:, 3:7]
            alone = model({"token_ids": ids, "segment_ids": ids * 0, "padding_mask": ids * 0 + 1})["logits"]
            assert np.allclose(together[0, 1], alone[0], atol=1e-5)
            ```
        """
        sequence, texts = encode_packed(self.encoder, inputs, num_texts, first_only=self._trims, training=training)
        return {"logits": self._head(sequence if self._trims else self.pool(sequence, texts), training)}

    def classify(self, sequence_output, padding_mask, training: bool | None = None):
        """Returns logits, float32 of shape (batch, num_outputs), for the hidden states of the encoder."""
        return self._head(self.pool(sequence_output, padding_mask), training)

    def _head(self, pooled, training: bool | None):
        if self._uses_pooler:
            pooled = self.encoder.pooler(pooled)
        return self.head(self.head_dropout(pooled, training=training))

    def default_compile(self, learning_rate: Any = 5e-5, **kwargs) -> None:
        """Compiles with AdamW, the loss of the kind of label, and its metric.

        Args:
            learning_rate: Float or `keras.optimizers.schedules.LearningRateSchedule`. Default 5e-5.
            **kwargs: Arguments of `keras.Model.compile` that replace the defaults.
        """
        defaults = {
            "optimizer": AdamW(learning_rate, weight_decay=0.01, global_clipnorm=1.0),
            "loss": {"logits": losses.for_kind(self.kind)},
            "metrics": {"logits": [metric_for_kind(self.kind)]},
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
            "trim_last_block": self.trim_last_block,
            "name": self.name,
            "trainable": self.trainable,
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None) -> "TextClassifier":
        """Builds the model from `get_config`."""
        return cls(**config)


def metric_for_kind(kind: str) -> keras.metrics.Metric:
    """Returns the metric of a kind of label, named "accuracy", or for regression "rmse"."""
    if kind == "single_label":
        return keras.metrics.SparseCategoricalAccuracy("accuracy")
    if kind == "multi_label":
        return keras.metrics.BinaryAccuracy("accuracy", threshold=0.0)
    return keras.metrics.RootMeanSquaredError("rmse")


def encode_packed(
    encoder: TransformerEncoder, inputs: dict, num_texts: Any, first_only: bool = False, training: bool | None = None
) -> tuple[Any, Any]:
    """Encodes several texts in each row.

    Args:
        encoder: The encoder.
        inputs: Dict of int32 tensors of shape (rows, length), as for `TextClassifier.packed`.
        num_texts: Number of texts in a row, an int or an integer scalar tensor: the most, or more.
        first_only: Whether the last block is computed for the first token of each text only. Default False.
        training: Whether dropout is active.

    Returns:
        The hidden states, float of shape (rows, length, hidden_dim), or (rows, num_texts, hidden_dim) of the first
        tokens; and which tokens are those of each text, of shape (rows, num_texts, length), for a pooling.

    Raises:
        ValueError: If an input is missing or has another shape, or, where they are NumPy arrays, the example ids do
            not fit.
    """
    _check_packed(inputs, num_texts)
    token_ids, segment_ids, padding_mask, position_ids, example_ids = (inputs[name] for name in PACKED_INPUTS)
    embeddings = encoder.embed(token_ids, segment_ids, position_ids, training=training)
    texts = ops.example_masks(example_ids, num_texts)
    options = {"position_ids": position_ids, "example_ids": example_ids}
    if first_only:
        options["places"] = ops.first_places(texts)
    return encoder.encode(embeddings, padding_mask, training=training, **options), texts


def _check_packed(inputs: dict, num_texts: Any) -> None:
    """Refuses packed rows that lack something, and, where their values are at hand, ids that would drop a text."""
    missing = [name for name in PACKED_INPUTS if name not in inputs]
    if missing:
        raise ValueError(
            f"Packed rows need {', '.join(PACKED_INPUTS)}. Received: {', '.join(inputs)}, without {', '.join(missing)}"
        )
    shapes = {name: tuple(inputs[name].shape) for name in PACKED_INPUTS}
    if len(set(shapes.values())) > 1 or len(shapes["token_ids"]) != 2:
        raise ValueError(f"All inputs of packed rows must have the shape (rows, length). Received: {shapes}")
    if isinstance(num_texts, int):
        check_positive("num_texts", num_texts)
    ids = inputs["example_ids"]
    if not isinstance(ids, np.ndarray):
        return
    if ids.size and (ids.min() < 0 or (isinstance(num_texts, int) and ids.max() > num_texts)):
        raise ValueError(
            "example_ids must be from 1 to num_texts, and 0 for padding. "
            f"Received: {ids.min()} to {ids.max()}, num_texts={num_texts}"
        )
    mask = inputs["padding_mask"]
    if isinstance(mask, np.ndarray) and ((ids > 0) != (mask > 0)).any():
        row = int(((ids > 0) != (mask > 0)).any(axis=1).argmax())
        raise ValueError(
            "example_ids must be above 0 where padding_mask is 1, and 0 elsewhere. "
            f"Received: row {row}, where they differ"
        )
