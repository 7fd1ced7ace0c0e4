"""The metadata that MediaPipe reads from a `.tflite`: a FlatBuffer inside, and the vocabulary and labels behind it.

Written from the public schema (`mediapipe/tasks/metadata/metadata_schema.fbs`), without MediaPipe, whose own writer
cannot be imported from its package. The numbers of fields below are their places in that schema.
"""

import json
import pathlib
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .staging import write_text
from .tflite_file import constant_buffer, read_model, schema, write_model

METADATA_NAME = "TFLITE_METADATA"
IDENTIFIER = b"M001"
INPUT_NAMES = {"input_word_ids": "ids", "input_mask": "mask", "input_type_ids": "segment_ids"}
"""Input of our signature -> the name by which MediaPipe finds the tensor."""
VOCABULARY_FILE = "vocab.txt"
LABELS_FILE = "labels.txt"
_AXIS_LABELS, _VOCABULARY = 2, 5
_FEATURE_PROPERTIES, _BERT_TOKENIZER = 1, 4
# What a file with a BertTokenizer needs, by `metadata_version.cc`.
_MIN_PARSER_VERSION = "1.1.0"
# A zip archive cannot be older; a fixed time makes the same model the same bytes.
_EPOCH = (1980, 1, 1, 0, 0, 0)


def attach(
    path: pathlib.Path, name: str, inputs: Sequence[str], output: str, vocabulary: Sequence[str], labels: Sequence[str]
) -> None:
    """Makes a `.tflite` one that MediaPipe reads.

    Args:
        path: The file; it is written anew.
        name: str, name of the model.
        inputs: MediaPipe's names of the input tensors, in their order in the file.
        output: str, name of the one output.
        vocabulary: The tokens, one for each id.
        labels: The names of the classes, in their order; empty for an embedder.

    Raises:
        OSError: If the file cannot be written.
    """
    model = read_model(path)
    data = build(name, inputs, output, bool(labels))
    entry = next((entry for entry in model.metadata or [] if entry.name == METADATA_NAME.encode()), None)
    if entry is None:
        entry = schema().MetadataT()
        entry.name = METADATA_NAME
        entry.buffer = constant_buffer(model, data)
        model.metadata = [*(model.metadata or []), entry]
    else:
        model.buffers[entry.buffer].data = np.frombuffer(data, np.uint8)
    write_model(model, path)
    contents = {VOCABULARY_FILE: vocabulary} | ({LABELS_FILE: labels} if labels else {})
    with zipfile.ZipFile(path, "a", zipfile.ZIP_STORED) as archive:
        for file, lines in contents.items():
            archive.writestr(zipfile.ZipInfo(file, _EPOCH), "".join(f"{line}\n" for line in lines).encode())


def build(name: str, inputs: Sequence[str], output: str, labelled: bool) -> bytes:
    """Returns the FlatBuffer.

    Args:
        name: str, name of the model.
        inputs: MediaPipe's names of the input tensors, in their order in the file.
        output: str, name of the one output.
        labelled: Whether the output has a file of labels.
    """
    import flatbuffers

    builder = _Builder(flatbuffers.Builder(1024))
    files = [builder.table({0: LABELS_FILE, 2: ("int8", _AXIS_LABELS)})] if labelled else None
    content = {0: ("uint8", _FEATURE_PROPERTIES), 1: ("offset", builder.table({}))}
    tensors = [builder.table({0: tensor, 3: ("offset", builder.table(content))}) for tensor in inputs]
    scores = {0: output, 3: ("offset", builder.table(content))} | ({6: files} if files else {})
    vocabulary = builder.table({0: VOCABULARY_FILE, 2: ("int8", _VOCABULARY)})
    tokenizer = builder.table({0: [vocabulary]})
    unit = builder.table({0: ("uint8", _BERT_TOKENIZER), 1: ("offset", tokenizer)})
    graph = builder.table({2: tensors, 3: [builder.table(scores)], 5: [unit]})
    root = builder.table({0: name, 3: [graph], 7: _MIN_PARSER_VERSION})
    builder.builder.Finish(root, file_identifier=IDENTIFIER)
    return bytes(builder.builder.Output())


def read_attached(path: pathlib.Path) -> dict[str, list[str]]:
    """Returns the files behind a `.tflite`: name -> lines.

    Raises:
        ValueError: If there are none, or the archive is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
            if damaged is None:
                return {file: archive.read(file).decode("utf-8").split("\n")[:-1] for file in archive.namelist()}
    except (zipfile.BadZipFile, UnicodeDecodeError) as error:
        damaged = str(error)
    raise ValueError(f"The files behind {path} cannot be read: {damaged}")


def read_metadata(path: pathlib.Path) -> dict[str, Any]:
    """Returns the metadata in a `.tflite` under the names of the schema, read by their places in it.

    Args:
        path: The file.

    Raises:
        ValueError: If the file has none.
    """
    from flatbuffers import encode, number_types, table

    model = read_model(path)
    entry = next((entry for entry in model.metadata or [] if entry.name == METADATA_NAME.encode()), None)
    if entry is None:
        raise ValueError(f"{path} has no metadata.")
    data = bytearray(bytes(model.buffers[entry.buffer].data))
    root = table.Table(data, encode.Get(number_types.UOffsetTFlags.packer_type, data, 0))
    return _read(root, _MODEL)


def write_metadata(path: pathlib.Path) -> None:
    """Writes beside a file for MediaPipe what its metadata say, as JSON.

    Args:
        path: The `.tflite`.

    Raises:
        OSError: If the file cannot be written.
    """
    text = json.dumps(read_metadata(path), indent=2, ensure_ascii=False) + "\n"
    write_text(path.with_name(f"{path.stem}.metadata.json"), text)


def _read(found: Any, fields: Mapping[int, tuple[str, Any]]) -> dict[str, Any]:
    """Reads those fields of a table that are there: number -> name and str, int, or the fields of what it leads to."""
    from flatbuffers import number_types, table

    result: dict[str, Any] = {}
    for number, (name, kind) in fields.items():
        offset = found.Offset(4 + 2 * number)
        if not offset:
            continue
        if kind is str:
            result[name] = found.String(found.Pos + offset).decode()
        elif kind is int:
            result[name] = found.Get(number_types.Uint8Flags, found.Pos + offset)
        elif isinstance(kind, list):
            places = (found.Vector(offset) + 4 * i for i in range(found.VectorLen(offset)))
            result[name] = [_read(table.Table(found.Bytes, found.Indirect(place)), kind[0]) for place in places]
        else:
            result[name] = _read(table.Table(found.Bytes, found.Indirect(found.Pos + offset)), kind)
    return result


_FILE = {0: ("name", str), 2: ("type", int)}
_TENSOR = {
    0: ("name", str),
    3: ("content", {0: ("content_properties_type", int)}),
    6: ("associated_files", [_FILE]),
}
_UNIT = {0: ("options_type", int), 1: ("options", {0: ("vocab_file", [_FILE])})}
_SUBGRAPH = {
    2: ("input_tensor_metadata", [_TENSOR]),
    3: ("output_tensor_metadata", [_TENSOR]),
    5: ("input_process_units", [_UNIT]),
}
_MODEL = {0: ("name", str), 3: ("subgraph_metadata", [_SUBGRAPH]), 7: ("min_parser_version", str)}


class _Builder:
    """Builds tables from {number of the field: value}."""

    def __init__(self, builder: Any):
        self.builder = builder

    def table(self, fields: Mapping[int, Any]) -> int:
        """Returns the place of a table. A value is a str, a list of places, or a pair of its type and the value."""
        prepared = {number: self._prepare(value) for number, value in fields.items()}
        self.builder.StartObject(max(prepared, default=-1) + 1)
        for number, (kind, value) in prepared.items():
            if kind == "offset":
                self.builder.PrependUOffsetTRelativeSlot(number, value, 0)
            elif kind == "int8":
                self.builder.PrependInt8Slot(number, value, 0)
            else:
                self.builder.PrependUint8Slot(number, value, 0)
        return self.builder.EndObject()

    def _prepare(self, value: Any) -> tuple[str, int]:
        if isinstance(value, str):
            return "offset", self.builder.CreateString(value)
        if isinstance(value, list):
            self.builder.StartVector(4, len(value), 4)
            for place in reversed(value):
                self.builder.PrependUOffsetTRelative(place)
            return "offset", self.builder.EndVector()
        return value
