"""One encoder and a head for each of several tasks (multi-task learning; Liu et al., arXiv 1901.11504)."""

from collections.abc import Mapping
from typing import Any

import keras

from keras_transformer import losses
from keras_transformer.models.encoder import TransformerEncoder
from keras_transformer.models.tasks import HeadConfig, TextClassifier, encode_packed, metric_for_kind
from keras_transformer.optimizers import AdamW


@keras.saving.register_keras_serializable("keras_transformer")
class MultiTaskClassifier(keras.Model):
    """An encoder that several tasks share, and for each of them a pooling and a dense layer that gives logits.

    Args:
        encoder: `TransformerEncoder`, or its `get_config()` dict.
        heads: Dict from the name of each task to its `HeadConfig`, or to its dict.
        dropout: Dropout rate before each dense layer. Default 0.1.
        name: Name of the model. Default "multi_task_classifier".
        trainable: Whether the weights are trained. Default True.

    Call arguments:
        inputs: The dict that the encoder takes.

    Returns:
        Dict with the logits of every task under its name, float32 of shape (batch, num_outputs).

    Raises:
        ValueError: If there is no task, a name is no identifier, or a head cannot be built.

    Example:
        ```python
        import numpy as np
        from keras_transformer.layers import AttentionConfig, FeedForwardConfig
        from keras_transformer.models import EncoderConfig, HeadConfig, MultiTaskClassifier, TransformerEncoder

        config = EncoderConfig(
            vocabulary_size=100, hidden_dim=32, num_layers=2,
            attention=AttentionConfig(num_heads=4), feed_forward=FeedForwardConfig(intermediate_dim=64),
        )
        heads = {"sentiment": HeadConfig(2), "stars": HeadConfig(1, kind="regression", pooling="first")}
        model = MultiTaskClassifier(TransformerEncoder(config), heads)
        ids = np.array([[2, 17, 3, 0]], "int32")
        inputs = {"token_ids": ids, "segment_ids": ids * 0, "padding_mask": (ids > 0).astype("int32")}
        outputs = model(inputs)
        assert outputs["sentiment"].shape == (1, 2) and outputs["stars"].shape == (1, 1)
        alone = model.task_model("sentiment")(inputs)["logits"]
        assert np.allclose(alone, outputs["sentiment"], atol=1e-6)
        ```
    """

    def __init__(
        self,
        encoder: TransformerEncoder | dict,
        heads: Mapping[str, HeadConfig | dict],
        dropout: float = 0.1,
        *,
        name: str = "multi_task_classifier",
        trainable: bool = True,
    ):
        if not heads or not all(isinstance(task, str) and task.isidentifier() for task in heads):
            raise ValueError(
                "There must be a head for each task, under a name of letters, digits and underscores. "
                f"Received: {', '.join(map(repr, heads)) or 'none'}"
            )
        if isinstance(encoder, dict):
            encoder = TransformerEncoder.from_config(encoder)
        heads = {task: HeadConfig.from_dict(head) for task, head in heads.items()}

        # Layers
        self.encoder = encoder
        classifiers = {}
        for task, head in heads.items():
            with keras.name_scope(task):  # gives every variable a path of its own
                classifiers[task] = TextClassifier(
                    encoder, head.num_outputs, head.kind, head.pooling, dropout, name=task
                )
        self._task_models = _Untracked(classifiers)

        # Graph
        inputs = {
            key: keras.Input((None,), dtype="int32", name=key) for key in ("token_ids", "segment_ids", "padding_mask")
        }
        sequence = encoder(inputs)["sequence_output"]
        logits = {
            task: _TaskHead(classifier, name=f"{task}_head")(sequence, inputs["padding_mask"])
            for task, classifier in classifiers.items()
        }
        super().__init__(inputs=inputs, outputs=logits, name=name, trainable=trainable)

        # Config
        self.heads = heads
        self.dropout = dropout

    def task_model(self, task: str) -> TextClassifier:
        """Returns the classifier of one task, which has its weights in common with this model; save or export it.

        Args:
            task: Name of the task.

        Raises:
            ValueError: If there is no such task.
        """
        if task not in self.heads:
            raise ValueError(f"The tasks are {', '.join(self.heads)}. Received: {task!r}")
        return self._task_models[task]

    def packed(self, inputs: dict, num_texts: Any, training: bool | None = None) -> dict:
        """Classifies several texts in each row, see `TextClassifier.packed`.

        Args:
            inputs: Dict of int32 tensors of shape (rows, length), with `position_ids` and `example_ids`.
            num_texts: Number of logits for each row, an int or an integer scalar tensor.
            training: Whether dropout is active.

        Returns:
            Dict with the logits of every task under its name, float32 of shape (rows, num_texts, num_outputs).

        Raises:
            ValueError: If an input is missing or has another shape.
        """
        sequence, texts = encode_packed(self.encoder, inputs, num_texts, training=training)
        return {task: self._task_models[task].classify(sequence, texts, training) for task in self.heads}

    def default_compile(self, learning_rate: Any = 5e-5, **kwargs) -> None:
        """Compiles with AdamW, and for each task the loss of its kind of label and its metric.

        The metrics count every example by its weight: the examples of the other tasks have none.

        Args:
            learning_rate: Float or `keras.optimizers.schedules.LearningRateSchedule`. Default 5e-5.
            **kwargs: Arguments of `keras.Model.compile` that replace the defaults.
        """
        defaults = {
            "optimizer": AdamW(learning_rate, weight_decay=0.01, global_clipnorm=1.0),
            "loss": {task: losses.for_kind(head.kind) for task, head in self.heads.items()},
            "weighted_metrics": {task: [metric_for_kind(head.kind)] for task, head in self.heads.items()},
        }
        self.compile(**defaults | kwargs)

    def get_config(self) -> dict:
        """Returns the constructor arguments."""
        return {
            "encoder": self.encoder.get_config(),
            "heads": {task: head.to_dict() for task, head in self.heads.items()},
            "dropout": self.dropout,
            "name": self.name,
            "trainable": self.trainable,
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None) -> "MultiTaskClassifier":
        """Builds the model from `get_config`."""
        return cls(**config)


class _TaskHead(keras.layers.Layer):
    """What a classifier has above its encoder, as one layer of a model of many tasks, with which it is saved."""

    def __init__(self, classifier: TextClassifier, **kwargs):
        super().__init__(dtype=classifier.encoder.embeddings.dtype_policy, **kwargs)
        self.pool = classifier.pool
        self.head_dropout = classifier.head_dropout
        self.head = classifier.head
        self._classify = classifier.classify
        self.built = True

    def call(self, sequence, padding_mask, training: bool | None = None):
        """Returns logits."""
        return self._classify(sequence, padding_mask, training)

    def compute_output_spec(self, sequence, padding_mask, training: bool | None = None):
        """Returns the symbolic output."""
        return keras.KerasTensor((sequence.shape[0], self.head.units), dtype="float32")


class _Untracked:
    """Models that share the layers of another one, which must not take them for layers of its own."""

    def __init__(self, models: Mapping[str, TextClassifier]):
        self._models = dict(models)

    def __getitem__(self, task: str) -> TextClassifier:
        return self._models[task]
