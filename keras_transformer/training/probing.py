"""How much a model knows without having seen a label: a linear classifier on what it makes of texts."""

from typing import Any

import keras
import numpy as np

from keras_transformer import data, layers
from keras_transformer.text import TextPacker


class LinearProbe:
    """Fits logistic regression to the mean hidden states of labelled texts, and measures it on others.

    Args:
        packer: `TextPacker` that feeds the encoder.
        train: `data.Examples` with one label each, to fit.
        held_out: `data.Examples`, to measure on.

    Raises:
        ValueError: If the labels are not one class for each text.
    """

    def __init__(self, packer: TextPacker, train: data.Examples, held_out: data.Examples) -> None:
        for part in (train, held_out):
            if np.asarray(part.labels).ndim != 1 or np.asarray(part.labels).dtype.kind not in "iu":
                raise ValueError(
                    "A probe needs one class for each text: set pretrain.probe_examples=0 for other labels. "
                    f"Received: labels of shape {np.shape(part.labels)}"
                )
        self._packer = packer
        self._rows = [data.encode(packer, part.texts) for part in (train, held_out)]
        self._labels = [np.asarray(part.labels) for part in (train, held_out)]
        self._model: keras.Model | None = None

    def accuracy(self, encoder: Any) -> float:
        """Return the share of the held-out texts that is classified correctly.

        Args:
            encoder: `models.TransformerEncoder`, the same at every call.
        """
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        if self._model is None:
            pooled = layers.MeanPooling()(encoder.output["sequence_output"], encoder.input["padding_mask"])
            self._model = keras.Model(encoder.input, pooled)
        seen, unseen = (
            data.predict_in_order(
                lambda batches: self._model.predict(batches, verbose=0), rows, pad_id=self._packer.pad_id
            )
            for rows in self._rows
        )
        classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        classifier.fit(seen, self._labels[0])
        return float(classifier.score(unseen, self._labels[1]))
