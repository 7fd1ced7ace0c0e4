"""Every name that an exported artefact shows: signatures, inputs, outputs, files, and what the outputs mean."""

import dataclasses
import json
import math
import pathlib
from typing import Any

import numpy as np

from .precision import SAVED_MODEL

SERVING = "serving_default"
"""Signature that takes raw text; in a `.tflite`, its only signature."""
TOKENS = "tokens"
"""Signature of the SavedModel that takes token ids."""
TEXT_LOGITS = "text_logits"
"""Signature of the SavedModel that takes raw text and gives nothing but logits."""
CLASSIFY = "classify"
"""Signature of the SavedModel for the Classify API: `tf.Example` in, `classes` and `scores` out."""
REGRESS = "regress"
"""Signature of the SavedModel for the Regress API: `tf.Example` in, `outputs` out."""
EMBED = "embed"
"""Signature of the SavedModel that takes raw text and gives one vector for each."""
TEXT = "text"
INPUTS = {"input_word_ids": "token_ids", "input_mask": "padding_mask", "input_type_ids": "segment_ids"}
"""Inputs of the token signatures and the model inputs that they feed."""

PROBABILITIES = "probabilities"
LABEL = "label"
SCORE = "score"
LABELS = "labels"
VALUES = "values"
LOGITS = "logits"
EMBEDDING = "embedding"
EXAMPLES = "inputs"
CLASSES = "classes"
SCORES = "scores"
REGRESSED = "outputs"
"""This and the three names before it are demanded by classifier.cc and regressor.cc of TensorFlow Serving."""
OUTPUTS = {
    "single_label": (PROBABILITIES, LABEL, SCORE),
    "multi_label": (PROBABILITIES, LABELS),
    "regression": (VALUES,),
}
"""Outputs of the text signature by the kind of the model; token signatures and `.tflite` files add `logits`."""

CONTRACT_FILE = "contract.json"
CHECK_FILE = "check.jsonl"


@dataclasses.dataclass(frozen=True)
class Contract:
    """What turns logits into the served outputs; it is baked into the graph and stored beside the artefact.

    Args:
        kind: str, "single_label", "multi_label" or "regression".
        class_names: tuple of str, one name an output.
        temperature: float, logits are divided by it before the softmax or sigmoid. Default 1.
        threshold: float, or tuple of float, one a label: probability from which a label of a multi-label model is
            given. Default 0.5.
        max_length: int, tokens of the longest row. Default 512.
        truncation: str, what happens to longer texts: "head", "head_tail" or "windows". Default "head".
        dtype: str, what a SavedModel computes in: "float32" (default) or "bfloat16".

    Raises:
        ValueError: If a value cannot be served.

    Example:
        ```python
        from keras_transformer.export.signatures import Contract

        contract = Contract("single_label", ("negative", "positive"))
        assert contract.expected([[2.0, 0.0]])["label"].tolist() == ["negative"]
        ```
    """

    kind: str
    class_names: tuple[str, ...]
    temperature: float = 1.0
    threshold: float | tuple[float, ...] = 0.5
    max_length: int = 512
    truncation: str = "head"
    dtype: str = "float32"

    def __post_init__(self) -> None:
        object.__setattr__(self, "class_names", tuple(self.class_names))
        if not isinstance(self.threshold, int | float):
            object.__setattr__(self, "threshold", tuple(self.threshold))
            if len(self.threshold) != len(self.class_names):
                raise ValueError(
                    f"threshold must be one number, or one for each of {len(self.class_names)} labels. "
                    f"Received: {self.threshold!r}"
                )
        if self.kind not in OUTPUTS:
            raise ValueError(f"kind must be one of {', '.join(OUTPUTS)}. Received: {self.kind!r}")
        if not self.class_names or any(not isinstance(name, str) or not name for name in self.class_names):
            raise ValueError(f"class_names must be non-empty strings. Received: {self.class_names!r}")
        if self.dtype not in SAVED_MODEL:
            raise ValueError(f"dtype must be one of {', '.join(SAVED_MODEL)}. Received: {self.dtype!r}")
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(f"temperature must be a number above 0. Received: {self.temperature!r}")

    def serve(self, logits) -> dict[str, Any]:
        """Returns the served outputs as TensorFlow tensors; each of them has the batch first.

        Args:
            logits: Float32 tensor of shape (batch, num_outputs).

        Returns:
            single_label: `probabilities` (batch, classes), `label` string (batch,), `score` (batch,), the probability
            of the label. multi_label: `probabilities`, and `labels` string (batch, labels): the names that are given,
            "" for the others. regression: `values` (batch, num_outputs).
        """
        import tensorflow as tf

        if self.kind == "regression":
            return {VALUES: tf.identity(logits)}
        scaled = logits if self.temperature == 1.0 else logits * (1.0 / self.temperature)
        if self.kind == "multi_label":
            probabilities = tf.nn.sigmoid(scaled)
            given = tf.cast(tf.greater_equal(probabilities, self.threshold), tf.int32)
            # A gather, because TFLite selects no strings: name i stands at i + 1, and "" at 0.
            places = given * tf.range(1, len(self.class_names) + 1)
            return {PROBABILITIES: probabilities, LABELS: tf.gather(tf.constant(["", *self.class_names]), places)}
        probabilities = tf.nn.softmax(scaled)
        chosen = tf.argmax(probabilities, axis=1, output_type=tf.int32)
        return {
            PROBABILITIES: probabilities,
            LABEL: tf.gather(tf.constant(self.class_names), chosen),
            SCORE: tf.reduce_max(probabilities, axis=1),
        }

    def expected(self, logits) -> dict[str, np.ndarray]:
        """Returns the same outputs computed by NumPy in float64: what an artefact is compared with.

        Args:
            logits: Array of shape (batch, num_outputs).
        """
        logits = np.asarray(logits, np.float64)
        if self.kind == "regression":
            return {VALUES: logits}
        scaled = logits / self.temperature
        names = np.asarray(self.class_names)
        if self.kind == "multi_label":
            probabilities = 1.0 / (1.0 + np.exp(-scaled))
            return {PROBABILITIES: probabilities, LABELS: np.where(probabilities >= self.threshold, names, "")}
        powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        probabilities = powers / powers.sum(axis=1, keepdims=True)
        return {
            PROBABILITIES: probabilities,
            LABEL: names[probabilities.argmax(axis=1)],
            SCORE: probabilities.max(axis=1),
        }

    def undecided(self, logits, margin: float) -> np.ndarray:
        """Says where a difference of `margin` in the probabilities may change a label.

        Args:
            logits: Array of shape (batch, num_outputs).
            margin: float, the difference.

        Returns:
            Bool array of the shape of `label` or `labels`.
        """
        probabilities = self.expected(logits)[PROBABILITIES]
        if self.kind == "multi_label":
            return np.abs(probabilities - self.threshold) <= margin
        top = np.sort(probabilities, axis=1)
        return top[:, -1] - top[:, -2] <= 2 * margin

    def save(self, folder: pathlib.Path) -> None:
        """Writes the contract into a folder."""
        text = json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False) + "\n"
        (folder / CONTRACT_FILE).write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: pathlib.Path) -> "Contract":
        """Reads the contract of a folder.

        Raises:
            FileNotFoundError: If there is none.
            ValueError: If it is damaged.
        """
        path = folder / CONTRACT_FILE
        if not path.is_file():
            raise FileNotFoundError(f"There is no {CONTRACT_FILE} in {folder}: the artefact cannot be verified.")
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path} is damaged: {error}") from error
