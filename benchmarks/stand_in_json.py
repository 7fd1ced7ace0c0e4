"""The REST API of the stand-in server: JSON in and out, after http_rest_prediction_handler.cc and json_tensor.cc."""

import base64
import json

import numpy as np

from benchmarks.stand_in_servable import Refused
from keras_transformer.export.serving.messages import METHODS, message
from keras_transformer.export.serving.tensors import from_proto, to_proto

ACTIONS = {":classify": "Classify", ":regress": "Regress", ":predict": "Predict", "/metadata": "GetModelMetadata"}


def answer_json(stand_in, found, body):
    """http_rest_prediction_handler.cc and json_tensor.cc, for tensors of strings and numbers."""
    method = {
        ":classify": "Classify",
        ":regress": "Regress",
        ":predict": "Predict",
        "/metadata": "GetModelMetadata",
    }.get(found["action"], "GetModelStatus")
    request = message(METHODS[method][1])()
    request.model_spec.name = found["name"]
    if found["version"]:
        request.model_spec.version.value = int(found["version"])
    if found["label"]:
        request.model_spec.version_label = found["label"]
    if method == "GetModelStatus":
        statuses = stand_in.answer(method, request).model_version_status
        healthy = {"error_code": "OK", "error_message": ""}
        return {"model_version_status": [_status(entry, healthy) for entry in statuses]}
    if method == "GetModelMetadata":
        return _metadata(stand_in, request)
    try:
        sent = json.loads(body)
    except ValueError as error:
        raise Refused("INVALID_ARGUMENT", f"JSON Parse error: {error}") from error
    if not isinstance(sent, dict):
        raise Refused("INVALID_ARGUMENT", "Request has to be a JSON object")
    request.model_spec.signature_name = sent.get("signature_name", "")
    if method == "Predict":
        return _predict_json(stand_in, request, sent)
    for fields in sent.get("examples", []):
        features = request.input.example_list.examples.add().features.feature
        for name, value in fields.items():
            values = value if isinstance(value, list) else [value]
            if all(isinstance(value, int) for value in values):
                features[name].int64_list.value.extend(values)
            else:
                features[name].bytes_list.value.extend(_bytes(value) for value in values)
    result = stand_in.answer(method, request).result
    if method == "Classify":
        return {"results": [[[entry.label, entry.score] for entry in row.classes] for row in result.classifications]}
    return {"results": [entry.value for entry in result.regressions]}


def _predict_json(stand_in, request, sent):
    definitions = stand_in.servable(request.model_spec).definitions
    name = request.model_spec.signature_name or "serving_default"
    if name not in definitions:
        raise Refused("INVALID_ARGUMENT", f'Serving signature name: "{name}" not found in signature def')
    known = definitions[name].inputs
    if ("instances" in sent) == ("inputs" in sent):
        raise Refused("INVALID_ARGUMENT", "Request must have either 'instances' or 'inputs'")
    if "instances" in sent:
        rows = sent["instances"]
        rows = (
            rows if isinstance(rows[0], dict) and "b64" not in rows[0] else [{next(iter(known)): row} for row in rows]
        )
        columns = {key: [row[key] for row in rows] for key in rows[0]}
    else:
        columns = sent["inputs"] if isinstance(sent["inputs"], dict) else {next(iter(known)): sent["inputs"]}
    for key, values in columns.items():
        if key not in known:
            raise Refused("INVALID_ARGUMENT", f"input tensor alias not found in signature: {key}.")
        numbers = {1: np.float32, 3: np.int32, 9: np.int64}
        try:
            tensor = to_proto(
                _strings(values) if known[key].dtype == 7 else np.array(values, numbers[known[key].dtype])
            )
        except (ValueError, TypeError) as error:
            raise Refused(
                "INVALID_ARGUMENT", f"JSON Value: {str(values)[:40]} Type: is not of expected type"
            ) from error
        request.inputs[key].CopyFrom(tensor)
    outputs = {key: from_proto(value) for key, value in stand_in.answer("Predict", request).outputs.items()}
    outputs = {key: _json_values(value) for key, value in outputs.items()}
    if "inputs" in sent:
        return {"outputs": outputs if len(outputs) > 1 else next(iter(outputs.values()))}
    if len(outputs) == 1:
        return {"predictions": next(iter(outputs.values()))}
    return {"predictions": [dict(zip(outputs, row, strict=True)) for row in zip(*outputs.values(), strict=True)]}


def _metadata(stand_in, request):
    types = {1: "DT_FLOAT", 3: "DT_INT32", 7: "DT_STRING", 9: "DT_INT64"}

    def describe(tensors):
        return {
            name: {
                "dtype": types.get(info.dtype, "DT_INVALID"),
                "tensor_shape": {"dim": [{"size": str(dim.size), "name": ""} for dim in info.tensor_shape.dim]},
                "name": info.name,
            }
            for name, info in tensors.items()
        }

    servable = stand_in.servable(request.model_spec)
    definitions = {
        name: {
            "inputs": describe(definition.inputs),
            "outputs": describe(definition.outputs),
            "method_name": definition.method_name,
        }
        for name, definition in servable.definitions.items()
    }
    return {
        "model_spec": {"name": stand_in.name, "signature_name": "", "version": str(servable.version)},
        "metadata": {"signature_def": {"signature_def": definitions}},
    }


def _status(entry, healthy):
    return {"version": str(entry.version), "state": "AVAILABLE", "status": healthy}


def _strings(values):
    return [_strings(value) for value in values] if isinstance(values, list) else _bytes(values)


def _bytes(value):
    if isinstance(value, dict) and set(value) == {"b64"}:
        return base64.b64decode(value["b64"])
    if not isinstance(value, str):
        raise Refused("INVALID_ARGUMENT", f"JSON Value: {value} Type: Number is not of expected type: string")
    return value.encode()


def _json_values(array):
    if array.dtype == object:
        return np.vectorize(bytes.decode, otypes=[object])(array).tolist()
    return array.tolist()
