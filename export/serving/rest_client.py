"""The client over REST, on the standard library."""

import http.client
import json
import threading
import urllib.parse
from typing import Any

import numpy as np

from ..signatures import SERVING, TEXT
from .base_client import Client
from .errors import ServerUnreachable, error_of

# What the server makes of its statuses (http_server.cc).
_CODES = {
    400: "INVALID_ARGUMENT",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    501: "UNIMPLEMENTED",
    503: "BUSY",
    504: "DEADLINE_EXCEEDED",
}
_TYPES = {
    "DT_FLOAT": "float32",
    "DT_DOUBLE": "float64",
    "DT_INT32": "int32",
    "DT_INT64": "int64",
    "DT_STRING": "string",
}
# The server closed a connection that was kept open: the request was not read, and may be sent again.
_STALE = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)


class RestClient(Client):
    """Asks a model over REST; arguments as for `Client`, and `secure` for TLS. Each thread keeps a connection open."""

    def __init__(self, server: str, *arguments: Any, secure: bool = False):
        super().__init__(server, *arguments)
        self._connection_type = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        self._kept = threading.local()
        self._all: list[http.client.HTTPConnection] = []
        self._signatures: dict | None = None

    def call(self, inputs: dict[str, Any], signature: str = SERVING) -> dict[str, np.ndarray]:
        """Sends one Predict request; see `Client.call`."""
        body = {"signature_name": signature, "inputs": {name: _jsonable(values) for name, values in inputs.items()}}
        outputs = self._send("POST", ":predict", body, signature)["outputs"]
        if not isinstance(outputs, dict):
            # The server leaves out the name of an only output.
            (name,) = self._known_signatures()[signature]["outputs"]
            outputs = {name: outputs}
        return {name: _array(outputs[name]) for name in sorted(outputs)}

    def signatures(self) -> dict[str, dict[str, dict[str, tuple[str, list[int]]]]]:
        """Asks for the metadata; see `Client.signatures`."""
        definitions = self._send("GET", "/metadata")["metadata"]["signature_def"]["signature_def"]

        def describe(tensors: dict) -> dict[str, tuple[str, list[int]]]:
            return {
                name: (
                    _TYPES.get(info["dtype"], info["dtype"]),
                    [int(dim["size"]) for dim in info["tensor_shape"]["dim"]],
                )
                for name, info in tensors.items()
            }

        return {
            name: {"inputs": describe(definition["inputs"]), "outputs": describe(definition["outputs"])}
            for name, definition in definitions.items()
            if definition["inputs"]
        }

    def versions(self) -> dict[int, str]:
        """Asks for the status; see `Client.versions`."""
        entries = self._send("GET", "")["model_version_status"]
        return {int(entry["version"]): entry["state"] for entry in entries}

    def close(self) -> None:
        """Closes the connections of all threads."""
        for connection in self._all:
            connection.close()
        self._all.clear()

    def _known_signatures(self) -> dict:
        if self._signatures is None:
            self._signatures = self.signatures()
        return self._signatures

    def _classify(self, texts: list, signature: str) -> list[dict[str, float]]:
        results = self._send("POST", ":classify", _examples(texts, signature), signature)["results"]
        return [{label: float(score) for label, score in row} for row in results]

    def _regress(self, texts: list, signature: str) -> list[float]:
        return [
            float(value) for value in self._send("POST", ":regress", _examples(texts, signature), signature)["results"]
        ]

    def _send(self, method: str, action: str, body: dict | None = None, signature: str = "") -> dict:
        path = f"/v1/models/{urllib.parse.quote(self.model, safe='')}"
        if self.version is not None:
            path += f"/versions/{self.version}"
        elif self.label is not None:
            path += f"/labels/{urllib.parse.quote(self.label, safe='')}"
        target = self._target(signature)
        data = None if body is None else json.dumps(body).encode()
        try:
            status, answer = self._exchange(method, path + action, data)
        except TimeoutError as error:
            self._drop()
            raise error_of("DEADLINE_EXCEEDED", "", target) from error
        except (OSError, http.client.HTTPException) as error:
            self._drop()
            raise error_of("UNAVAILABLE", str(error) or type(error).__name__, target) from error
        try:
            parsed = json.loads(answer)
        except ValueError as error:
            raise ServerUnreachable(
                f"What answers at {self.server} is no REST port of TensorFlow Serving (8501 by default). "
                f"Received: status {status}, {answer[:80]!r}"
            ) from error
        if status != 200:
            details = parsed.get("error", "") if isinstance(parsed, dict) else str(parsed)
            raise error_of(_CODES.get(status, f"HTTP {status}"), details, target)
        return parsed

    def _exchange(self, method: str, path: str, data: bytes | None) -> tuple[int, bytes]:
        headers = {"Content-Type": "application/json"} if data else {}
        for attempt in (1, 2):
            connection = getattr(self._kept, "connection", None)
            fresh = connection is None
            if fresh:
                connection = self._connection_type(self.server, timeout=self.timeout)
                self._kept.connection = connection
                self._all.append(connection)
            try:
                connection.request(method, path, data, headers)
                response = connection.getresponse()
                return response.status, response.read()
            except _STALE:
                self._drop()
                if fresh or attempt == 2:
                    raise
        raise AssertionError("both attempts return or raise")

    def _drop(self) -> None:
        connection = getattr(self._kept, "connection", None)
        if connection is not None:
            connection.close()
            self._all.remove(connection)
            self._kept.connection = None


def _examples(texts: list, signature: str) -> dict:
    return {"signature_name": signature, "examples": [{TEXT: _jsonable(text)} for text in texts]}


def _jsonable(values: Any) -> Any:
    """Texts and numbers as the server reads them from JSON; bytes go as base64."""
    import base64

    if isinstance(values, bytes):
        try:
            return values.decode()
        except UnicodeDecodeError:
            return {"b64": base64.b64encode(values).decode()}
    if isinstance(values, str):
        return values.encode("utf-8", "replace").decode()
    if isinstance(values, np.ndarray):
        return _jsonable(values.tolist())
    return [_jsonable(value) for value in values] if isinstance(values, list | tuple) else values


def _array(values: Any) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    return np.asarray(values, object) if array.dtype.kind in "US" else array
