"""Fine-tuning on rows of several texts by `keras.Model.fit`: each text counts as if it had a row of its own."""

from typing import Any

import keras

from keras_transformer.models import TextClassifier
from keras_transformer.models.tasks import metric_for_kind


def around(classifier: TextClassifier) -> keras.Model:
    """Returns a model that trains a classifier on batches from `one_by_one`, and measures it on texts alone in a row.

    Args:
        classifier: `TextClassifier`, whose weights it has.

    Raises:
        ValueError: If the model takes no rows of several texts.
    """
    if not hasattr(classifier, "packed"):
        raise ValueError(
            "packing=True needs a model that takes several texts in a row, such as TextClassifier with its method "
            f"packed. Use packing=False. Received: {type(classifier).__name__}"
        )
    return _PackedTexts(classifier)


def one_by_one(dataset: Any) -> Any:
    """Returns a dataset whose labels and weights are those of the texts of a batch, one after the other.

    Args:
        dataset: `tf.data.Dataset` from `data.make_dataset` with a `PackedPlan`.

    Returns:
        A dataset whose inputs have `texts`, too, float32 of shape (rows, texts): 1 where there is a text. Labels have
        the shape (rows * texts, ...), weights (rows * texts,), and 0 where there is none.
    """
    import tensorflow as tf

    def joined(inputs: dict, labels: tf.Tensor, weights: tf.Tensor) -> tuple:
        numbers = tf.range(1, tf.shape(weights)[1] + 1)
        texts = tf.cast(numbers <= tf.reduce_max(inputs["example_ids"], 1, keepdims=True), tf.float32)
        return inputs | {"texts": texts}, tf.reshape(labels, [-1, *labels.shape[2:]]), tf.reshape(weights, [-1])

    return dataset.map(joined)


class _PackedTexts(keras.Model):
    """A classifier whose outputs are those of all places for texts of a batch, one after the other."""

    def __init__(self, classifier: TextClassifier):
        super().__init__(name=classifier.name)
        self.classifier = classifier
        self.built = True

    def default_compile(self, **kwargs) -> None:
        """Compiles as the classifier's own does; the metric, too, counts every text once."""
        self.compile(weighted_metrics={"logits": [metric_for_kind(self.classifier.kind)]}, **kwargs)

    def call(self, inputs, training: bool | None = None):
        """Returns the logits of all places, or of the rows where each has one text."""
        if "example_ids" not in inputs:
            return self.classifier(inputs, training=training)
        num_texts = keras.ops.shape(inputs["texts"])[1]
        logits = self.classifier.packed(inputs, num_texts, training=training)["logits"]
        return {"logits": keras.ops.reshape(logits, (-1, logits.shape[-1]))}

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """Counts every text once, whatever its weight, and places without a text not at all."""
        texts = keras.ops.reshape(x["texts"], (-1,)) if "texts" in x else None
        return super().compute_metrics(x, y, y_pred, sample_weight=texts)
