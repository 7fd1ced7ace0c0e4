"""What can go wrong between a client and a server, each with what to do about it."""

import dataclasses


class ServingError(Exception):
    """A request that was not answered."""


class ServerUnreachable(ServingError, ConnectionError):
    """Nothing answers at the address, or something that is no TensorFlow Serving."""


class ServerBusy(ServingError):
    """The server has more requests than it takes: try again later."""


class DeadlineExceeded(ServingError, TimeoutError):
    """The answer did not come in time."""


class ModelNotFound(ServingError, LookupError):
    """The server has no model of that name, or not that version."""


class RequestRefused(ServingError, ValueError):
    """The server understood the request and refused it."""


class SignatureError(RequestRefused):
    """The model has no such signature, or the signature takes other inputs."""


@dataclasses.dataclass(frozen=True)
class Target:
    """Where a request went, for the messages.

    Args:
        server: Address of the server.
        model: Name of the model.
        version: Version or label, or None for the server's choice.
        signature: Name of the signature, "" where there is none.
        timeout: Seconds that an answer may take.
    """

    server: str
    model: str
    version: int | str | None
    signature: str
    timeout: float


def error_of(code: str, details: str, target: Target) -> ServingError:
    """Returns the error of a failed request.

    Args:
        code: Name of the gRPC status, such as "NOT_FOUND"; "BUSY" where a server that was reached is unavailable.
        details: What the server, or the connection, said.
        target: `Target` of the request.
    """
    details = " ".join(details.split()) or code
    model = target.model if target.version is None else f"{target.model}, version {target.version}"
    queue_full = code == "UNAVAILABLE" and "queue" in details.lower()
    if code in ("BUSY", "RESOURCE_EXHAUSTED") or queue_full:
        return ServerBusy(f"The server at {target.server} is too busy or not ready; try again later: {details}")
    if code == "UNAVAILABLE":
        return ServerUnreachable(
            f"No TensorFlow Serving answers at {target.server}. Is it running, and is the port right (8500 for gRPC, "
            f"8501 for REST)? {details}"
        )
    if code == "DEADLINE_EXCEEDED":
        return DeadlineExceeded(
            f"The server at {target.server} did not answer in {target.timeout:g} seconds. Send fewer or shorter texts, "
            f"or raise the timeout. {details}"
        )
    if code == "NOT_FOUND":
        return ModelNotFound(f"The server at {target.server} has no model {model}: {details}")
    if target.signature and any(
        word in details.lower() for word in ("signature", "alias", "input tensor", "method_name")
    ):
        return SignatureError(
            f"The model {model} cannot answer this request; signatures() lists what it has. "
            f"Received: signature {target.signature!r}. The server says: {details}"
        )
    return RequestRefused(f"The server refused the request ({code}): {details}")
