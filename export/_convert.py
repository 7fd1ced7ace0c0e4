"""Converts a SavedModel to TFLite; a script for a process of its own, because the converter keeps its memory."""

import argparse
import os
import sys


def main() -> int:
    """Converts; prints one line to stderr and returns 1 on failure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("saved_model")
    parser.add_argument("output")
    parser.add_argument("--custom_operators", action="store_true")
    arguments = parser.parse_args()

    import tensorflow as tf
    import tensorflow_text  # noqa: F401 - registers the operators of the packer

    tf.get_logger().setLevel("ERROR")
    converter = tf.lite.TFLiteConverter.from_saved_model(arguments.saved_model)
    # Keras' own export adds SELECT_TF_OPS, which lets Flex operators slip in.
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    converter.allow_custom_ops = arguments.custom_operators
    try:
        content = converter.convert()
        with open(arguments.output, "wb") as file:
            file.write(content)
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.exit(main())
