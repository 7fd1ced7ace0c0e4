"""A client of TensorFlow Serving: texts in, answers out, over gRPC or REST, without TensorFlow.

From a shell: `python -m keras_transformer.export.client --server=http://localhost:8501 --model=reviews "A good film."`
"""

import argparse
import json
import sys
import urllib.parse
from collections.abc import Sequence

import numpy as np

from .serving.base_client import Client
from .serving.errors import (
    DeadlineExceeded,
    ModelNotFound,
    RequestRefused,
    ServerBusy,
    ServerUnreachable,
    ServingError,
    SignatureError,
)
from .signatures import CLASSIFY, REGRESS, SERVING

__all__ = [
    "Client",
    "DeadlineExceeded",
    "ModelNotFound",
    "RequestRefused",
    "ServerBusy",
    "ServerUnreachable",
    "ServingError",
    "SignatureError",
    "connect",
    "main",
]


def connect(
    server: str,
    model: str = "model",
    *,
    version: int | None = None,
    label: str | None = None,
    timeout: float = 10.0,
    batch_size: int = 32,
) -> Client:
    """Returns a client of one model; nothing is sent before the first question.

    Args:
        server: str, "grpc://HOST:8500", or "http://HOST:8501" for REST; "grpcs" and "https" for TLS.
        model: str, name of the model at the server. Default "model".
        version: int or None, version to ask. Default None, the one that the server chooses.
        label: str or None, label of a version instead of its number. Default None.
        timeout: float, seconds that an answer may take. Default 10.
        batch_size: int, most texts in one request. Default 32, the largest that the exported configuration allows.

    Returns:
        `Client` with `predict`, `classify`, `regress`, `embed`, `call`, `signatures` and `versions`. It may be used by
        several threads.

    Raises:
        ValueError: If the address has another form.
        ImportError: For gRPC, if grpcio is not installed.

    Example:
        ```python
        from keras_transformer.export import client

        reviews = client.connect("http://localhost:1", "reviews", timeout=2)
        try:
            print(reviews.predict(["A good film."])["label"])
        except client.ServerUnreachable as error:
            assert "No TensorFlow Serving answers at localhost:1" in str(error)
        ```
    """
    parts = urllib.parse.urlsplit(server)
    if parts.scheme not in ("grpc", "grpcs", "http", "https") or not parts.netloc or parts.path not in ("", "/"):
        raise ValueError(f"server must be grpc://HOST:PORT or http://HOST:PORT. Received: {server!r}")
    arguments = (model, version, label, timeout, batch_size)
    if parts.scheme in ("grpc", "grpcs"):
        from .serving.grpc_client import GrpcClient

        return GrpcClient(parts.netloc, *arguments, secure=parts.scheme == "grpcs")
    from .serving.rest_client import RestClient

    return RestClient(parts.netloc, *arguments, secure=parts.scheme == "https")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: Words after the program's name; None takes those of the process.

    Returns:
        Exit status: 0, or 1 after an error, which is told in one line.
    """
    options = _parser().parse_args(arguments)
    try:
        chosen = {"version": options.version, "label": options.label, "timeout": options.timeout}
        with connect(options.server, options.model, **chosen) as client:
            if options.status:
                answers = [{"versions": client.versions(), "signatures": client.signatures()}]
            else:
                answers = _ask(client, options.text or sys.stdin.read().splitlines(), options.signature)
            for answer in answers:
                print(json.dumps(answer, ensure_ascii=False))
    except (ServingError, ValueError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _ask(client: Client, texts: list[str], signature: str) -> list[dict]:
    if signature == CLASSIFY:
        return [{"text": text, "scores": scores} for text, scores in zip(texts, client.classify(texts), strict=True)]
    if signature == REGRESS:
        return [{"text": text, "value": value} for text, value in zip(texts, client.regress(texts), strict=True)]
    outputs = client.predict(texts, signature)
    rows = zip(texts, *(np.asarray(values).tolist() for values in outputs.values()), strict=True)
    return [{"text": text, **dict(zip(outputs, values, strict=True))} for text, *values in rows]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m keras_transformer.export.client",
        description="Ask a model of a TensorFlow Serving; a line of JSON for each text.",
        allow_abbrev=False,
    )
    parser.add_argument("text", nargs="*", help="texts; without any, the lines of standard input")
    parser.add_argument("--server", default="http://localhost:8501", metavar="URL", help="default: %(default)s")
    parser.add_argument("--model", default="model", metavar="NAME", help="default: %(default)s")
    parser.add_argument("--signature", default=SERVING, metavar="NAME", help="default: %(default)s")
    parser.add_argument("--version", type=int, metavar="N", help="version of the model (default: the server's choice)")
    parser.add_argument("--label", metavar="NAME", help="label of a version")
    parser.add_argument("--timeout", type=float, default=10.0, metavar="SECONDS", help="default: %(default)s")
    parser.add_argument("--status", action="store_true", help="only say which versions and signatures there are")
    return parser


if __name__ == "__main__":
    sys.exit(main())
