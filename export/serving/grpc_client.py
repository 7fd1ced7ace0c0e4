"""The client over gRPC."""

from typing import Any

import numpy as np

from ..signatures import SERVING
from .base_client import Client, as_text
from .errors import error_of
from .messages import METHODS, STATES, message, method_path
from .tensors import TYPE_NAMES, example, from_proto, to_proto


class GrpcClient(Client):
    """Asks a model over gRPC; arguments as for `Client`, and `secure` for TLS.

    Raises:
        ImportError: If grpcio is not installed.
    """

    def __init__(self, server: str, *arguments: Any, secure: bool = False):
        super().__init__(server, *arguments)
        try:
            import grpc
        except ImportError as error:
            raise ImportError(
                "The gRPC client needs grpcio. Run: pip install grpcio, or use the REST port: http://HOST:8501"
            ) from error
        # No limit: a request of 32 long texts is over the 4 MB that gRPC allows.
        options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
        if secure:
            self._channel = grpc.secure_channel(server, grpc.ssl_channel_credentials(), options)
        else:
            self._channel = grpc.insecure_channel(server, options)
        self._failure = grpc.RpcError
        self._methods = {
            method: self._channel.unary_unary(
                method_path(method),
                request_serializer=message(request).SerializeToString,
                response_deserializer=message(response).FromString,
            )
            for method, (_, request, response) in METHODS.items()
        }

    def call(self, inputs: dict[str, Any], signature: str = SERVING) -> dict[str, np.ndarray]:
        """Sends one Predict request; see `Client.call`."""
        request = self._request("Predict", signature)
        for name, values in inputs.items():
            request.inputs[name].CopyFrom(to_proto(values))
        outputs = self._send("Predict", request, signature).outputs
        return {name: as_text(from_proto(outputs[name])) for name in sorted(outputs)}

    def signatures(self) -> dict[str, dict[str, dict[str, tuple[str, list[int]]]]]:
        """Asks for the metadata; see `Client.signatures`."""
        request = self._request("GetModelMetadata")
        request.metadata_field.append("signature_def")
        packed = self._send("GetModelMetadata", request).metadata["signature_def"].value

        def describe(tensors: Any) -> dict[str, tuple[str, list[int]]]:
            return {
                name: (TYPE_NAMES.get(info.dtype, str(info.dtype)), [dim.size for dim in info.tensor_shape.dim])
                for name, info in tensors.items()
            }

        definitions = message("SignatureDefMap").FromString(packed).signature_def
        return {
            name: {"inputs": describe(definition.inputs), "outputs": describe(definition.outputs)}
            for name, definition in definitions.items()
            if definition.inputs
        }

    def versions(self) -> dict[int, str]:
        """Asks for the status; see `Client.versions`."""
        response = self._send("GetModelStatus", self._request("GetModelStatus"))
        return {entry.version: STATES.get(entry.state, str(entry.state)) for entry in response.model_version_status}

    def close(self) -> None:
        """Closes the channel."""
        self._channel.close()

    def _classify(self, texts: list, signature: str) -> list[dict[str, float]]:
        response = self._send("Classify", self._examples("Classify", texts, signature), signature)
        return [{entry.label: entry.score for entry in row.classes} for row in response.result.classifications]

    def _regress(self, texts: list, signature: str) -> list[float]:
        response = self._send("Regress", self._examples("Regress", texts, signature), signature)
        return [entry.value for entry in response.result.regressions]

    def _examples(self, method: str, texts: list, signature: str) -> Any:
        request = self._request(method, signature)
        request.input.example_list.examples.extend(example(text) for text in texts)
        return request

    def _request(self, method: str, signature: str = "") -> Any:
        request = message(METHODS[method][1])()
        request.model_spec.name = self.model
        request.model_spec.signature_name = signature
        if self.version is not None:
            request.model_spec.version.value = self.version
        elif self.label is not None:
            request.model_spec.version_label = self.label
        return request

    def _send(self, method: str, request: Any, signature: str = "") -> Any:
        try:
            return self._methods[method](request, timeout=self.timeout)
        except self._failure as error:
            raise error_of(error.code().name, error.details() or "", self._target(signature)) from error
