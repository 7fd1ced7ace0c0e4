"""Warm-up records: requests that a server answers while it loads a version, before the first client asks."""

import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ..signatures import EXAMPLES, INPUTS, SERVING, TEXT
from .messages import message
from .tensors import example, from_proto, to_proto

FILE = "tf_serving_warmup_requests"
"""Name inside `assets.extra`, a TFRecord of PredictionLog."""
MOST = 1000
"""A server refuses a version with more records."""

_PREFIX = "tensorflow/serving/"


def write_warmup(version: pathlib.Path, packer, words: Sequence[str], batch_sizes: Sequence[int]) -> int:
    """Writes the records of a version folder.

    `serving_default`, `classify` and `regress` get every batch size with short, medium and the longest texts; the other
    signatures that take texts or token ids get one short and one long request.

    Args:
        version: Version folder with the SavedModel.
        packer: `TextPacker`, which says how long a text is.
        words: Words to make texts of; the first of the shortest is taken.
        batch_sizes: Texts in a request.

    Returns:
        The number of records.

    Raises:
        ValueError: If there would be more than a server takes.
    """
    import tensorflow as tf

    texts = warmup_texts(packer, words)
    logs = []
    for name, method, inputs in sorted(_signatures(version)):
        every_size = name == SERVING or method != "predict"
        for size in batch_sizes if every_size else (1,):
            for text in texts if every_size else (texts[0], texts[-1]):
                log = _log(name, method, inputs, [text] * size, packer)
                if log is not None:
                    logs.append(log)
    if len(logs) > MOST:
        raise ValueError(
            f"A server takes at most {MOST} warm-up records: give fewer batch sizes. Received: {len(logs)}"
        )
    with tf.io.TFRecordWriter(str(version / "assets.extra" / FILE)) as writer:
        for log in logs:
            writer.write(log.SerializeToString(deterministic=True))
    return len(logs)


def warmup_texts(packer, words: Sequence[str]) -> list[str]:
    """Returns a text of one word, one of a quarter of the longest row, and one that fills it."""
    words = [*words, "a"]
    around, *counts = packer.tokens(["", *words]).row_lengths().numpy().tolist()
    # Some words, such as a lone mark of text direction, are no token at all.
    shortest = min(counts, key=lambda count: (count <= around, count))
    word = words[counts.index(shortest)]
    lengths = sorted({1, max(1, packer.max_length // 4 - around), max(1, packer.max_length - around)})
    return [" ".join([word] * length) for length in lengths]


def replay(version: pathlib.Path, runs: dict[str, Callable]) -> int:
    """Answers the warm-up requests as a server does while it loads a version.

    Args:
        version: Version folder.
        runs: Its signatures as functions of named arrays.

    Returns:
        The number of requests; 0 if there is no file.

    Raises:
        ValueError: If a record is damaged or cannot be answered: the server would not load the version.
    """
    path = version / "assets.extra" / FILE
    if not path.is_file():
        return 0
    number = 0
    for number, log in enumerate(_read(path), 1):
        if number > MOST:
            raise ValueError(f"{FILE} has more than {MOST} records.")
        signature, inputs = _request(log, number)
        if signature not in runs:
            raise ValueError(f"record {number} of {FILE} asks for the signature {signature!r}, which does not exist.")
        try:
            outputs = runs[signature](**inputs)
        except Exception as error:
            line = next(iter(str(error).splitlines()), type(error).__name__)
            raise ValueError(f"record {number} of {FILE} cannot be answered: {line}") from error
        rows = len(next(iter(inputs.values())))
        wrong = [name for name, value in outputs.items() if value.shape[:1] != (rows,)]
        if wrong:
            raise ValueError(f"record {number} of {FILE} has {rows} rows, and {wrong[0]} has not.")
    if not number:
        raise ValueError(f"{FILE} is empty.")
    return number


def _signatures(version: pathlib.Path) -> Iterator[tuple[str, str, set[str]]]:
    """Name, API and input names of the signatures."""
    from tensorflow.core.protobuf import saved_model_pb2

    saved_model = saved_model_pb2.SavedModel.FromString((version / "saved_model.pb").read_bytes())
    for name, definition in saved_model.meta_graphs[0].signature_def.items():
        if definition.inputs:
            yield name, definition.method_name.removeprefix(_PREFIX), set(definition.inputs)


def _log(name: str, method: str, inputs: set[str], texts: list[str], packer) -> Any:
    """Returns the PredictionLog of a request, or None for a signature that takes neither texts nor token ids."""
    log = message("PredictionLog")()
    if method != "predict":
        request = getattr(log, f"{method}_log").request
        request.input.example_list.examples.extend(example(text) for text in texts)
    elif inputs == {TEXT}:
        request = log.predict_log.request
        request.inputs[TEXT].CopyFrom(to_proto(texts))
    elif inputs == set(INPUTS):
        request = log.predict_log.request
        for key, value in packer.pack(packer.tokens(texts)).items():
            place = next(place for place, ours in INPUTS.items() if ours == key)
            request.inputs[place].CopyFrom(to_proto(value.numpy()))
    else:
        return None
    request.model_spec.signature_name = name
    return log


def _read(path: pathlib.Path) -> Iterator[Any]:
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    try:
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            yield message("PredictionLog").FromString(record)
    except (tf.errors.OpError, DecodeError) as error:
        raise ValueError(f"{FILE} is damaged: {str(error).splitlines()[0]}") from error


def _request(log: Any, number: int) -> tuple[str, dict[str, Any]]:
    kind = log.WhichOneof("log_type")
    if kind is None:
        raise ValueError(f"record {number} of {FILE} holds no request.")
    request = getattr(log, kind).request
    signature = request.model_spec.signature_name or SERVING
    if kind == "predict_log":
        try:
            return signature, {name: from_proto(tensor).tolist() for name, tensor in request.inputs.items()}
        except ValueError as error:
            raise ValueError(f"record {number} of {FILE} is damaged: {error}") from error
    return signature, {EXAMPLES: [entry.SerializeToString() for entry in request.input.example_list.examples]}
