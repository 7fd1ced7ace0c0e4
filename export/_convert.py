"""Converts SavedModels to TFLite; a script for a process of its own, because the converter keeps its memory."""

import json
import os
import sys


def main(jobs: list[list]) -> int:
    """Converts; prints one line to stderr and returns 1 on failure.

    Args:
        jobs: (folder of the SavedModel, file to write, whether custom operators are allowed) of each.
    """
    import tensorflow as tf
    import tensorflow_text  # noqa: F401 - registers the operators of the packer

    tf.get_logger().setLevel("ERROR")
    for source, target, custom_operators in jobs:
        try:
            converter = tf.lite.TFLiteConverter.from_saved_model(source)
            # Keras' own export adds SELECT_TF_OPS, which lets Flex operators slip in.
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
            converter.allow_custom_ops = custom_operators
            content = converter.convert()
            with open(target, "wb") as file:
                file.write(content)
        except Exception as error:
            message = " ".join(str(error).split())
            print(f"{type(error).__name__}: {os.path.basename(target)}: {message[:500]}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.exit(main(json.loads(sys.argv[1])))
