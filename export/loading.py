"""TensorFlow and its text operations, loaded before anything reads a SavedModel."""

from keras_transformer._command import quiet_tensorflow


def load_tensorflow() -> None:
    """Imports TensorFlow without the lines that its libraries write before their logging is set up."""
    with quiet_tensorflow():
        import tensorflow as tf
        import tensorflow_text  # noqa: F401 - loaded here for the same reason

        tf.config.list_physical_devices()
