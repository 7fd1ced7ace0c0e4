"""Converts SavedModels to TFLite and ONNX; a script for a process of its own: converters keep their memory."""

import json
import os
import sys

OPSET = 17
"""Version of the ONNX operators: every runtime since 2022 reads it."""


def main(jobs: list[dict]) -> int:
    """Converts; prints one line to stderr and returns 1 on failure.

    Args:
        jobs: Dicts of `converter` ("tflite" or "onnx"), `source` (folder of a SavedModel), `target` (file to write),
            `precision` ("float32", "float16", "int8" or "full_int8"), `inputs` (names in their order),
            `custom_operators` (whether they are allowed), and for full_int8 `examples` (.npz of the inputs, each with
            the examples first).
    """
    import tensorflow as tf
    import tensorflow_text  # noqa: F401 - registers the operators of the packer

    tf.get_logger().setLevel("ERROR")
    for job in jobs:
        try:
            content = {"tflite": _to_tflite, "onnx": _to_onnx}[job["converter"]](job)
            with open(job["target"], "wb") as file:
                file.write(content)
        except Exception as error:
            message = " ".join(str(error).split())
            print(f"{type(error).__name__}: {os.path.basename(job['target'])}: {message[:500]}", file=sys.stderr)
            return 1
    return 0


def _to_tflite(job: dict) -> bytes:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(job["source"])
    # Keras' own export adds SELECT_TF_OPS, which lets Flex operators slip in.
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    converter.allow_custom_ops = job["custom_operators"]
    if job["precision"] != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if job["precision"] == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if job["precision"] == "full_int8":
        converter.representative_dataset = lambda: _examples(job["examples"])
    return converter.convert()


def _to_onnx(job: dict) -> bytes:
    import logging

    import tensorflow as tf
    import tf2onnx

    # It tells of every pass over the graph, and advises other packages.
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    # The loaded object owns the weights.
    loaded = tf.saved_model.load(job["source"])
    function = loaded.signatures["serving_default"]
    known = function.structured_input_signature[1]
    model, _ = tf2onnx.convert.from_function(
        tf.function(lambda *tensors: function(**dict(zip(job["inputs"], tensors, strict=True))), autograph=False),
        input_signature=[known[name] for name in job["inputs"]],
        opset=OPSET,
        custom_op_handlers={"Erfc": (_erfc, [])},
    )
    return model.SerializeToString()


def _erfc(context, node, name, arguments) -> None:
    """ONNX has the error function and not its complement, and tf2onnx knows no replacement."""
    import numpy as np

    source, target = node.input[0], node.output[0]
    shape, dtype = context.get_shape(target), context.get_dtype(target)
    one = context.make_const(f"{node.name}/one", np.array(1, np.float32)).output[0]
    context.remove_node(node.name)
    error = context.make_node("Erf", [source]).output[0]
    context.make_node("Sub", [one, error], outputs=[target], name=node.name, shapes=[shape], dtypes=[dtype])


def _examples(path: str):
    import numpy as np

    inputs = dict(np.load(path))
    for i in range(len(next(iter(inputs.values())))):
        yield "serving_default", {name: values[i : i + 1] for name, values in inputs.items()}


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.exit(main(json.loads(sys.argv[1])))
