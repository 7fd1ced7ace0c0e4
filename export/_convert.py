"""Converts SavedModels to TFLite; a script for a process of its own, because the converter keeps its memory."""

import json
import os
import sys


def main(jobs: list[dict]) -> int:
    """Converts; prints one line to stderr and returns 1 on failure.

    Args:
        jobs: Dicts of `source` (folder of a SavedModel), `target` (file to write), `precision` ("float32", "float16",
            "int8" or "full_int8"), `custom_operators` (whether they are allowed), and for full_int8 `examples` (.npz of
            the inputs, each with the examples first).
    """
    import tensorflow as tf
    import tensorflow_text  # noqa: F401 - registers the operators of the packer

    tf.get_logger().setLevel("ERROR")
    for job in jobs:
        try:
            converter = tf.lite.TFLiteConverter.from_saved_model(job["source"])
            # Keras' own export adds SELECT_TF_OPS, which lets Flex operators slip in.
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
            converter.allow_custom_ops = job["custom_operators"]
            if job["precision"] != "float32":
                converter.optimizations = [tf.lite.Optimize.DEFAULT]
            if job["precision"] == "float16":
                converter.target_spec.supported_types = [tf.float16]
            if job["precision"] == "full_int8":
                converter.representative_dataset = lambda path=job["examples"]: _examples(path)
            content = converter.convert()
            with open(job["target"], "wb") as file:
                file.write(content)
        except Exception as error:
            message = " ".join(str(error).split())
            print(f"{type(error).__name__}: {os.path.basename(job['target'])}: {message[:500]}", file=sys.stderr)
            return 1
    return 0


def _examples(path: str):
    import numpy as np

    inputs = dict(np.load(path))
    for i in range(len(next(iter(inputs.values())))):
        yield "serving_default", {name: values[i : i + 1] for name, values in inputs.items()}


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.exit(main(json.loads(sys.argv[1])))
