"""The SavedModel that scores: is it one, which is it, and what does it say of a list of texts."""

import math
import os
from typing import Any

import numpy as np

from ..signatures import LABEL, LABELS, PROBABILITIES, SCORE, SERVING, TEXT, VALUES
from . import storage

BATCH_SIZE = 256
PROBE = "a"
_WHERE = ("Graph execution error", "Detected at node", "<stack traces", "[[")
_FIRST = (LABEL, LABELS, SCORE, PROBABILITIES, VALUES)


class ModelError(RuntimeError):
    """The model fails on every text: it is not the text's fault."""


class Scorer:
    """A SavedModel as a function of texts.

    Args:
        folder: str, version folder of a SavedModel whose signature `serving_default` takes raw text.
        batch_size: int, texts in one call. Default 256.

    Raises:
        ValueError: If it cannot be loaded.
    """

    def __init__(self, folder: str, batch_size: int = BATCH_SIZE):
        from ..runners import open_saved_model

        try:
            self._serve = open_saved_model(folder)[SERVING]
        except ValueError:
            raise
        except Exception as error:  # cut weights raise whatever the reader of checkpoints makes of them
            raise ValueError(f"{folder} cannot be loaded as a SavedModel: {_reason(error)}") from error
        self._batch_size = batch_size

    def __call__(self, texts: list[str]) -> list[dict[str, Any] | str]:
        """Returns the outputs for each text, in their order, or why there are none.

        Texts of like length are computed together: a batch takes as long as its longest text.

        Args:
            texts: list of str.

        Raises:
            ModelError: If the model fails on any text.
        """
        encoded = [text.encode("utf-8") for text in texts]
        order = sorted(range(len(encoded)), key=lambda i: len(encoded[i]))
        answers: list[dict[str, Any] | str] = [""] * len(encoded)
        for start in range(0, len(order), self._batch_size):
            places = order[start : start + self._batch_size]
            for place, answer in zip(places, self._score([encoded[i] for i in places]), strict=True):
                answers[place] = answer
        return answers

    def _score(self, batch: list[bytes]) -> list[dict[str, Any] | str]:
        import tensorflow as tf

        try:
            outputs = self._serve(**{TEXT: np.array(batch, object)})
        except tf.errors.OpError as error:
            # One text must not take the others with it.
            if len(batch) > 1:
                half = len(batch) // 2
                return self._score(batch[:half]) + self._score(batch[half:])
            reason = _reason(error)
            if batch[0] == PROBE.encode():
                raise ModelError(f"The model fails on every text. It says: {reason}") from error
            self._score([PROBE.encode()])
            return [reason]
        return rows_of(outputs)


def _reason(error: Exception) -> str:
    """What TensorFlow says, without where in its graph."""
    lines = [line.strip() for line in str(getattr(error, "message", error)).splitlines()]
    told = [line for line in lines if line and not line.startswith(_WHERE)]
    return " ".join(told)[:500] or type(error).__name__


def rows_of(outputs: dict[str, np.ndarray]) -> list[dict[str, Any] | str]:
    """Returns the outputs of a batch text by text, as what JSON can hold.

    Args:
        outputs: dict of arrays of shape (batch, ...): numbers, or strings as bytes.

    Example:
        ```python
        import numpy as np
        from keras_transformer.export.scoring.model import rows_of

        outputs = {"label": np.array([b"good"], object), "probabilities": np.array([[0.1, 0.9]], np.float32)}
        assert rows_of(outputs) == [{"label": "good", "probabilities": [0.1, 0.9]}]
        ```
    """
    names = sorted(outputs, key=lambda name: (_FIRST.index(name) if name in _FIRST else len(_FIRST), name))
    columns = [_values(name, outputs[name]) for name in names]
    rows = [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
    return [row if _finite(list(row.values())) else "an output is not a finite number" for row in rows]


def _values(name: str, array: np.ndarray) -> list:
    if array.dtype == object:
        found = np.vectorize(lambda value: value.decode("utf-8", "replace"), otypes=[object])(array).tolist()
        return [[label for label in labels if label] for labels in found] if name == LABELS else found
    if array.dtype == np.float32:
        # By way of the fewest digits that give the same float32 back: half as many as those of its float64.
        return array.astype(str).astype(np.float64).tolist()
    return array.tolist()


def _finite(value: Any) -> bool:
    if isinstance(value, list):
        return all(_finite(part) for part in value)
    return not isinstance(value, float) or math.isfinite(value)


def check_model(folder: str) -> list[str]:
    """Returns the outputs of the signature that takes raw text.

    Args:
        folder: str, version folder.

    Raises:
        FileNotFoundError: If there is no SavedModel.
        ValueError: If it is damaged, or no signature takes raw text.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    try:
        content = storage.read(storage.join(folder, "saved_model.pb"))
    except OSError as error:
        versions = (
            [name for name in storage.names_in(folder) if name.isdecimal()] if not storage.is_remote(folder) else []
        )
        hint = f" Give one of its versions: {', '.join(sorted(versions))}." if versions else ""
        raise FileNotFoundError(f"There is no SavedModel in {folder}.{hint}") from error
    try:
        signatures = saved_model_pb2.SavedModel.FromString(content).meta_graphs[0].signature_def
    except (DecodeError, IndexError) as error:
        raise ValueError(f"{folder} is damaged: saved_model.pb cannot be read: {error}") from error
    if SERVING not in signatures or set(signatures[SERVING].inputs) != {TEXT}:
        has = "; ".join(f"{name}({', '.join(sorted(signatures[name].inputs))})" for name in sorted(signatures))
        raise ValueError(
            f"{folder} must have the signature {SERVING} of one input, {TEXT!r}: raw text. Received: {has}"
        )
    return sorted(signatures[SERVING].outputs)


def share_cores(workers: int) -> None:
    """Gives each of several processes its share of the cores; one process keeps all."""
    if workers > 1:
        for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
            os.environ.setdefault(name, str(max(1, (os.cpu_count() or 1) // workers)))
