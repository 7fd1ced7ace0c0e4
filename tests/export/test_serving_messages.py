"""Our messages are those of tensorflow-serving-api: the same fields, and the same bytes."""

import json
import pathlib

import numpy as np
import pytest

from keras_transformer.export.serving import messages, tensors

# Fields, methods and serialised messages, taken from the package tensorflow-serving-api 2.21.0.
OFFICIAL = json.loads((pathlib.Path(__file__).parent / "tensorflow_serving_api.json").read_text(encoding="utf-8"))
# Not in that package: session_bundle_config.proto and monitoring_config.proto of the server.
SERVER_ONLY = {
    "tensorflow.serving.BatchingParameters": {
        "max_batch_size": [1, "google.protobuf.Int64Value", ""],
        "batch_timeout_micros": [2, "google.protobuf.Int64Value", ""],
        "max_enqueued_batches": [3, "google.protobuf.Int64Value", ""],
        "num_batch_threads": [4, "google.protobuf.Int64Value", ""],
        "allowed_batch_sizes": [6, "repeated int64", ""],
        "pad_variable_length_inputs": [7, "bool", ""],
    },
    "tensorflow.serving.PrometheusConfig": {"enable": [1, "bool", ""], "path": [2, "string", ""]},
    "tensorflow.serving.MonitoringConfig": {"prometheus_config": [1, "tensorflow.serving.PrometheusConfig", ""]},
}
KNOWN = OFFICIAL["messages"] | SERVER_ONLY


@pytest.mark.parametrize("name", sorted(messages.field_table()))
def test_fields_have_the_official_numbers_and_types(name):
    for field, (number, kind, oneof) in messages.field_table()[name].items():
        official_number, official_kind, official_oneof = KNOWN[name][field]
        assert (number, oneof) == (official_number, official_oneof), field
        # An enum and an int32 are the same on the wire.
        assert kind == official_kind.replace("enum", "int32"), field
        descriptor = messages.message(name).DESCRIPTOR.fields_by_name[field]
        assert descriptor.number == number
        assert bool(descriptor.containing_oneof) == bool(oneof)


def test_methods_have_the_official_paths():
    ours = {
        messages.method_path(method): [f"tensorflow.serving.{request}", f"tensorflow.serving.{response}"]
        for method, (_, request, response) in messages.METHODS.items()
    }
    assert ours == OFFICIAL["methods"]


@pytest.mark.parametrize("name", sorted(OFFICIAL["bytes"]))
def test_official_bytes_are_read_and_written_again(name):
    for hexadecimal in OFFICIAL["bytes"][name]:
        data = bytes.fromhex(hexadecimal)
        parsed = messages.message(name).FromString(data)
        assert parsed.SerializeToString(deterministic=True) == data
        # Every byte landed in a field that we know: without unknown fields nothing is lost.
        parsed.DiscardUnknownFields()
        assert parsed.SerializeToString(deterministic=True) == data


def test_values_of_official_messages():
    def first(name):
        return messages.message(name).FromString(bytes.fromhex(OFFICIAL["bytes"][f"tensorflow.serving.{name}"][0]))

    request = first("PredictRequest")
    assert (request.model_spec.name, request.model_spec.version.value) == ("m", 3)
    assert tensors.from_proto(request.inputs["text"]).tolist() == [b"good \xff", "é".encode()]
    assert tensors.from_proto(request.inputs["input_mask"]).tolist() == [[1, 0], [1, 1]]
    outputs = first("PredictResponse").outputs
    np.testing.assert_array_equal(tensors.from_proto(outputs["score"]), np.array([0.25, 0.5], "float32"))
    request = first("ClassificationRequest")
    assert request.model_spec.WhichOneof("version_choice") == "version_label"
    assert list(request.input.example_list.examples) == [tensors.example("a"), tensors.example(b"b")]
    classes = first("ClassificationResponse").result.classifications[1].classes
    assert [(entry.label, entry.score) for entry in classes] == [("neg", 0.75), ("pos", 0.25)]
    (version,) = first("GetModelStatusResponse").model_version_status
    assert (version.version, messages.STATES[version.state]) == (3, "AVAILABLE")
    packed = first("GetModelMetadataResponse").metadata["signature_def"].value
    info = messages.message("SignatureDefMap").FromString(packed).signature_def["embed"].inputs["text"]
    assert (info.name, tensors.TYPE_NAMES[info.dtype], info.tensor_shape.dim[0].size) == ("x:0", "string", -1)


@pytest.mark.parametrize(
    "values",
    [
        ["a", "", "x\x00"],
        [b"\xff\x00", "é"],
        [["a", "b"]],
        np.array([[1.5, -2.0]], "float32"),
        np.array([1.0], "float64"),
        np.array([[1, 2], [3, 4]], "int32"),
        np.array([2**40], "int64"),
        np.array([True, False]),
        np.zeros((0, 3), "float32"),
        np.array([], object),
    ],
    ids=["str", "bytes", "matrix", "float32", "float64", "int32", "int64", "bool", "empty", "no_strings"],
)
def test_tensors_are_those_of_tensorflow(values):
    import tensorflow as tf
    from tensorflow.core.framework import tensor_pb2

    ours = tensors.to_proto(values)
    theirs = tf.make_ndarray(tensor_pb2.TensorProto.FromString(ours.SerializeToString()))
    back = tensors.from_proto(ours)
    assert theirs.dtype == back.dtype
    np.testing.assert_array_equal(back, theirs)
    # And what TensorFlow writes, its repeated last values left out, is read.
    for proto in (tf.make_tensor_proto(theirs), tf.make_tensor_proto(3, tf.int32, [2, 2])):
        read = tensors.from_proto(messages.message("tensorflow.TensorProto").FromString(proto.SerializeToString()))
        np.testing.assert_array_equal(read, tf.make_ndarray(proto))


def test_tensors_that_cannot_be_sent_or_read_are_named():
    with pytest.raises(ValueError, match="Received: dtype complex128"):
        tensors.to_proto([1j])
    with pytest.raises(ValueError, match="Received: int"):
        tensors.to_proto(["a", 3])
    proto = tensors.to_proto(np.array([1.0, 2.0], "float32"))
    proto.tensor_shape.dim[0].size = 3
    with pytest.raises(ValueError, match="needs 3 values"):
        tensors.from_proto(proto)
    proto.dtype = 99
    with pytest.raises(ValueError, match="dtype 99"):
        tensors.from_proto(proto)
    assert tensors.as_bytes("a\ud800") == b"a?"


def test_official_and_own_messages_live_beside_each_other():
    from tensorflow.core.example import example_pb2

    ours = tensors.example("text")
    theirs = example_pb2.Example.FromString(ours.SerializeToString())
    assert theirs.features.feature["text"].bytes_list.value[0] == b"text"
    assert type(ours) is not type(theirs)
