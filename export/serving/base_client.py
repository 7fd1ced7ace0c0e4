"""What a client of TensorFlow Serving offers, whichever way its requests travel."""

import abc
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..signatures import CLASSIFY, EMBED, EMBEDDING, REGRESS, SERVING, TEXT
from .errors import Target


class Client(abc.ABC):
    """Asks one model of a server; `client.connect` chooses between gRPC and REST.

    Args:
        server: str, "host:port".
        model: str, name of the model.
        version: int or None, version to ask; None means the one that the server chooses.
        label: str or None, label of a version instead of its number.
        timeout: float, seconds that an answer may take.
        batch_size: int, most texts in one request; more are sent in several.

    Raises:
        ValueError: For a version and a label together, or numbers that are not above 0.
    """

    def __init__(
        self, server: str, model: str, version: int | None, label: str | None, timeout: float, batch_size: int
    ):
        if version is not None and label is not None:
            raise ValueError(f"Give a version or a label, not both. Received: version={version}, label={label!r}")
        if not timeout > 0 or batch_size < 1:
            raise ValueError(
                f"timeout and batch_size must be above 0. Received: timeout={timeout}, batch_size={batch_size}"
            )
        self.server = server
        self.model = model
        self.version = version
        self.label = label
        self.timeout = timeout
        self.batch_size = batch_size

    def predict(self, texts: Sequence[str | bytes], signature: str = SERVING) -> dict[str, np.ndarray]:
        """Asks a signature that takes texts.

        Args:
            texts: The texts; bytes need not be valid UTF-8.
            signature: str, name of the signature. Default "serving_default".

        Returns:
            Name of an output -> array with a row for each text; strings are str.

        Raises:
            ServingError: A subclass says what went wrong.
            ValueError: If there are no texts, or something else than texts.
        """
        answers = [self.call({TEXT: part}, signature) for part in self._parts(texts)]
        return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}

    def embed(self, texts: Sequence[str | bytes]) -> np.ndarray:
        """Returns one vector for each text, float32 of shape (texts, hidden_dim); errors as for `predict`."""
        return self.predict(texts, EMBED)[EMBEDDING]

    def classify(self, texts: Sequence[str | bytes], signature: str = CLASSIFY) -> list[dict[str, float]]:
        """Asks the Classify API.

        Args:
            texts: The texts.
            signature: str, name of the signature. Default "classify".

        Returns:
            For each text label -> score; errors as for `predict`.
        """
        return self._gather(self._classify, texts, signature)

    def regress(self, texts: Sequence[str | bytes], signature: str = REGRESS) -> list[float]:
        """Asks the Regress API; returns a number for each text. Arguments and errors as for `classify`."""
        return self._gather(self._regress, texts, signature)

    @abc.abstractmethod
    def call(self, inputs: dict[str, Any], signature: str = SERVING) -> dict[str, np.ndarray]:
        """Sends one Predict request.

        Args:
            inputs: Name of an input -> array or nested lists: texts, or token ids.
            signature: str, name of the signature. Default "serving_default".

        Returns:
            As for `predict`, and the errors, too.
        """

    @abc.abstractmethod
    def signatures(self) -> dict[str, dict[str, dict[str, tuple[str, list[int]]]]]:
        """Returns name -> {"inputs", "outputs"} -> name of a tensor -> type and shape, -1 for an open size."""

    @abc.abstractmethod
    def versions(self) -> dict[int, str]:
        """Returns version -> state; "AVAILABLE" ones answer."""

    @abc.abstractmethod
    def close(self) -> None:
        """Closes the connection."""

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @abc.abstractmethod
    def _classify(self, texts: list, signature: str) -> list[dict[str, float]]: ...

    @abc.abstractmethod
    def _regress(self, texts: list, signature: str) -> list[float]: ...

    def _gather(self, ask: Callable, texts: Sequence[str | bytes], signature: str) -> list:
        return [answer for part in self._parts(texts) for answer in ask(part, signature)]

    def _parts(self, texts: Sequence[str | bytes]) -> Iterator[list[str | bytes]]:
        if isinstance(texts, str | bytes):
            raise ValueError(f"texts must be a list of texts. Received: the text {texts[:40]!r}")
        texts = list(texts)
        wrong = [text for text in texts if not isinstance(text, str | bytes)]
        if wrong or not texts:
            received = type(wrong[0]).__name__ if wrong else "no texts"
            raise ValueError(f"texts must be str or bytes, at least one. Received: {received}")
        return (texts[start : start + self.batch_size] for start in range(0, len(texts), self.batch_size))

    def _target(self, signature: str = "") -> Target:
        version = self.label if self.version is None else self.version
        return Target(self.server, self.model, version, signature, self.timeout)


def as_text(values: np.ndarray) -> np.ndarray:
    """Returns an array of bytes as one of str; other arrays as they are."""
    if values.dtype != object:
        return values
    decoded = [value.decode("utf-8", "replace") if isinstance(value, bytes) else value for value in values.flat]
    result = np.empty(values.size, object)
    result[:] = decoded
    return result.reshape(values.shape)
