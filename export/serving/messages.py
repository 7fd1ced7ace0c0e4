"""The messages of TensorFlow Serving, without TensorFlow: name, number and type of every field that is used here.

They are the wire format of the packages `tensorflow` and `tensorflow-serving-api`, and a test holds them to it. They
live in a descriptor pool of their own, so that both packages may be imported beside them.
"""

import functools
import re
from typing import Any

# A line for each message; fields as `name=number:type`, `*` before the type for a list, `<type>` for a map from string,
# `@name` after it for the member of a oneof. Enums are written as int32: the same bytes.
_FIELDS = {
    "google.protobuf": """
        Any: type_url=1:string value=2:bytes
        Int64Value: value=1:int64
        """,
    "tensorflow": """
        TensorShapeProto.Dim: size=1:int64 name=2:string
        TensorShapeProto: dim=2:*TensorShapeProto.Dim unknown_rank=3:bool
        TensorProto: dtype=1:int32 tensor_shape=2:TensorShapeProto version_number=3:int32 tensor_content=4:bytes \
            float_val=5:*float double_val=6:*double int_val=7:*int32 string_val=8:*bytes int64_val=10:*int64 \
            bool_val=11:*bool
        BytesList: value=1:*bytes
        FloatList: value=1:*float
        Int64List: value=1:*int64
        Feature: bytes_list=1:BytesList@kind float_list=2:FloatList@kind int64_list=3:Int64List@kind
        Features: feature=1:<Feature>
        Example: features=1:Features
        TensorInfo: name=1:string@encoding dtype=2:int32 tensor_shape=3:TensorShapeProto
        SignatureDef: inputs=1:<TensorInfo> outputs=2:<TensorInfo> method_name=3:string
        """,
    "tensorflow.serving": """
        ModelSpec: name=1:string version=2:google.protobuf.Int64Value@version_choice \
            version_label=4:string@version_choice signature_name=3:string
        PredictRequest: model_spec=1:ModelSpec inputs=2:<tensorflow.TensorProto> output_filter=3:*string
        PredictResponse: model_spec=2:ModelSpec outputs=1:<tensorflow.TensorProto>
        ExampleList: examples=1:*tensorflow.Example
        ExampleListWithContext: examples=1:*tensorflow.Example context=2:tensorflow.Example
        Input: example_list=1:ExampleList@kind example_list_with_context=2:ExampleListWithContext@kind
        Class: label=1:string score=2:float
        Classifications: classes=1:*Class
        ClassificationResult: classifications=1:*Classifications
        ClassificationRequest: model_spec=1:ModelSpec input=2:Input
        ClassificationResponse: model_spec=2:ModelSpec result=1:ClassificationResult
        Regression: value=1:float
        RegressionResult: regressions=1:*Regression
        RegressionRequest: model_spec=1:ModelSpec input=2:Input
        RegressionResponse: model_spec=2:ModelSpec result=1:RegressionResult
        SignatureDefMap: signature_def=1:<tensorflow.SignatureDef>
        GetModelMetadataRequest: model_spec=1:ModelSpec metadata_field=2:*string
        GetModelMetadataResponse: model_spec=1:ModelSpec metadata=2:<google.protobuf.Any>
        StatusProto: error_code=1:int32 error_message=2:string
        ModelVersionStatus: version=1:int64 state=2:int32 status=3:StatusProto
        GetModelStatusRequest: model_spec=1:ModelSpec
        GetModelStatusResponse: model_version_status=1:*ModelVersionStatus
        PredictLog: request=1:PredictRequest response=2:PredictResponse
        ClassifyLog: request=1:ClassificationRequest response=2:ClassificationResponse
        RegressLog: request=1:RegressionRequest response=2:RegressionResponse
        PredictionLog: classify_log=2:ClassifyLog@log_type regress_log=3:RegressLog@log_type \
            predict_log=6:PredictLog@log_type
        FileSystemStoragePathSourceConfig.ServableVersionPolicy.Latest: num_versions=1:uint32
        FileSystemStoragePathSourceConfig.ServableVersionPolicy.All:
        FileSystemStoragePathSourceConfig.ServableVersionPolicy.Specific: versions=1:*int64
        FileSystemStoragePathSourceConfig.ServableVersionPolicy: \
            latest=100:FileSystemStoragePathSourceConfig.ServableVersionPolicy.Latest@policy_choice \
            all=101:FileSystemStoragePathSourceConfig.ServableVersionPolicy.All@policy_choice \
            specific=102:FileSystemStoragePathSourceConfig.ServableVersionPolicy.Specific@policy_choice
        ModelConfig: name=1:string base_path=2:string model_platform=4:string \
            model_version_policy=7:FileSystemStoragePathSourceConfig.ServableVersionPolicy version_labels=8:<int64>
        ModelConfigList: config=1:*ModelConfig
        ModelServerConfig: model_config_list=1:ModelConfigList@config
        BatchingParameters: max_batch_size=1:google.protobuf.Int64Value \
            batch_timeout_micros=2:google.protobuf.Int64Value \
            max_enqueued_batches=3:google.protobuf.Int64Value \
            num_batch_threads=4:google.protobuf.Int64Value \
            allowed_batch_sizes=6:*int64 pad_variable_length_inputs=7:bool
        PrometheusConfig: enable=1:bool path=2:string
        MonitoringConfig: prometheus_config=1:PrometheusConfig
        """,
}

METHODS = {
    "Predict": ("PredictionService", "PredictRequest", "PredictResponse"),
    "Classify": ("PredictionService", "ClassificationRequest", "ClassificationResponse"),
    "Regress": ("PredictionService", "RegressionRequest", "RegressionResponse"),
    "GetModelMetadata": ("PredictionService", "GetModelMetadataRequest", "GetModelMetadataResponse"),
    "GetModelStatus": ("ModelService", "GetModelStatusRequest", "GetModelStatusResponse"),
}
"""Method -> service, request and response of the gRPC API."""

STATES = {0: "UNKNOWN", 10: "START", 20: "LOADING", 30: "AVAILABLE", 40: "UNLOADING", 50: "END"}
"""States of a version, by their numbers."""

_SCALARS = {
    name: number
    for number, name in (
        *((1, "double"), (2, "float"), (3, "int64"), (5, "int32"), (8, "bool"), (9, "string"), (12, "bytes")),
        (13, "uint32"),
    )
}
_FIELD = re.compile(r"(\w+)=(\d+):([*<]?)([\w.]+)>?(?:@(\w+))?")


def message(name: str) -> type:
    """Returns the class of a message.

    Args:
        name: str, with its package ("tensorflow.Example"), or without it for those of tensorflow.serving.

    Raises:
        KeyError: If there is no such message.

    Example:
        ```python
        from keras_transformer.export.serving.messages import message

        request = message("PredictRequest")()
        request.model_spec.name = "reviews"
        request.model_spec.version.value = 3
        assert message("PredictRequest").FromString(request.SerializeToString()) == request
        ```
    """
    from google.protobuf import message_factory

    full = name if name.startswith(("tensorflow.", "google.")) else f"tensorflow.serving.{name}"
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(full))


def method_path(method: str) -> str:
    """Returns the path under which gRPC knows a method of `METHODS`."""
    return f"/tensorflow.serving.{METHODS[method][0]}/{method}"


def field_table() -> dict[str, dict[str, tuple[int, str, str]]]:
    """Returns, for each message, its fields as (number, type, name of the oneof)."""
    table: dict[str, dict[str, tuple[int, str, str]]] = {}
    for package, text in _FIELDS.items():
        for line in filter(None, map(str.strip, text.splitlines())):
            name, _, fields = line.partition(":")
            table[f"{package}.{name}"] = {}
            for field, number, many, kind, oneof in _FIELD.findall(fields):
                kind = kind if kind in _SCALARS or kind.startswith(("tensorflow.", "google.")) else f"{package}.{kind}"
                kind = {"": kind, "*": f"repeated {kind}", "<": f"map<string,{kind}>"}[many]
                table[f"{package}.{name}"][field] = (int(number), kind, oneof)
    return table


@functools.cache
def _pool() -> Any:
    from google.protobuf import descriptor_pb2, descriptor_pool

    pool = descriptor_pool.DescriptorPool()
    table = field_table()
    files: list[str] = []
    for package in _FIELDS:
        file = descriptor_pb2.FileDescriptorProto(
            name=f"keras_transformer/{package}.proto", package=package, syntax="proto3", dependency=files
        )
        for full, fields in table.items():
            if _package(full) == package:
                _fill(_nested(file, full.removeprefix(f"{package}.").split(".")), full, fields)
        pool.Add(file)
        files = [*files, file.name]
    return pool


def _package(full: str) -> str:
    return max((package for package in _FIELDS if full.startswith(f"{package}.")), key=len)


def _nested(parent: Any, names: list[str]) -> Any:
    """Returns the descriptor of a message that may stand inside others, which are made on the way."""
    children = parent.message_type if hasattr(parent, "message_type") else parent.nested_type
    for child in children:
        if child.name == names[0]:
            break
    else:
        child = children.add(name=names[0])
    return child if len(names) == 1 else _nested(child, names[1:])


def _fill(descriptor: Any, full: str, fields: dict[str, tuple[int, str, str]]) -> None:
    oneofs = list(dict.fromkeys(oneof for _, _, oneof in fields.values() if oneof))
    for oneof in oneofs:
        descriptor.oneof_decl.add(name=oneof)
    for name, (number, kind, oneof) in fields.items():
        field = descriptor.field.add(name=name, number=number, label=1)
        if kind.startswith("map<"):
            entry = descriptor.nested_type.add(name="".join(map(str.capitalize, name.split("_"))) + "Entry")
            entry.options.map_entry = True
            entry.field.add(name="key", number=1, label=1, type=_SCALARS["string"])
            _set_type(entry.field.add(name="value", number=2, label=1), kind[len("map<string,") : -1])
            field.label, kind = 3, f"{full}.{entry.name}"
        elif kind.startswith("repeated "):
            field.label, kind = 3, kind.removeprefix("repeated ")
        _set_type(field, kind)
        if oneof:
            field.oneof_index = oneofs.index(oneof)


def _set_type(field: Any, kind: str) -> None:
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type, field.type_name = 11, f".{kind}"
