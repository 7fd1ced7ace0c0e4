"""Loads artefacts and gives their signatures as functions of named NumPy arrays."""

import pathlib
from collections.abc import Callable

import numpy as np

from .signatures import SERVING, TEXT


def open_saved_model(path: pathlib.Path) -> dict[str, Callable[..., dict[str, np.ndarray]]]:
    """Loads a SavedModel and returns its signatures as functions of named arrays.

    Args:
        path: The version folder.

    Raises:
        ValueError: If it cannot be loaded.
    """
    import tensorflow as tf
    import tensorflow_text  # noqa: F401 - registers the operators of the packer

    try:
        loaded = tf.saved_model.load(str(path))
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise ValueError(f"{path} cannot be loaded as a SavedModel: {str(error).splitlines()[0]}") from error

    def bind(function):
        # The loaded object owns the weights: the default argument keeps it alive as long as the function.
        def run(_loaded=loaded, **inputs):
            outputs = function(**{name: tf.constant(value) for name, value in inputs.items()})
            return {name: value.numpy() for name, value in outputs.items()}

        return run

    return {name: bind(loaded.signatures[name]) for name in loaded.signatures}


def open_tflite(path: pathlib.Path, num_threads: int | None = None) -> tuple[bool, Callable]:
    """Loads a `.tflite` file in the LiteRT interpreter.

    Args:
        path: The file.
        num_threads: int or None, threads of the interpreter. Default None, its own choice.

    Returns:
        Whether the model takes text, and its signature as a function of named arrays.

    Raises:
        ImportError: If ai-edge-litert is not installed.
        ValueError: If the file cannot be loaded.
    """
    try:
        interpreter = interpreter_of(path, num_threads)
        takes_text = interpreter.get_signature_list()[SERVING]["inputs"] == [TEXT]
        runner = interpreter.get_signature_runner(SERVING)
    except (ValueError, KeyError, RuntimeError) as error:
        raise ValueError(f"{path} cannot be loaded as a TFLite model: {error}") from error

    def run(**inputs):
        if takes_text:
            inputs = {TEXT: np.asarray(inputs[TEXT], object)}
        return runner(**inputs)

    return takes_text, run


def interpreter_of(path: pathlib.Path, num_threads: int | None = None):
    """Returns the LiteRT interpreter of a `.tflite` file, which knows the operators of TF Text, too.

    Args:
        path: The file.
        num_threads: int or None, threads of the interpreter. Default None, its own choice.

    Raises:
        ImportError: If ai-edge-litert is not installed.
        ValueError: If the file cannot be loaded.
    """
    try:
        from ai_edge_litert.interpreter import InterpreterWithCustomOps
    except ImportError as error:
        raise ImportError(
            ".tflite files are verified in LiteRT, which is missing. Run: pip install ai-edge-litert"
        ) from error
    from tensorflow_text.core.pybinds import tflite_registrar

    return InterpreterWithCustomOps(
        model_path=str(path), custom_op_registerers=tflite_registrar.SELECT_TFTEXT_OPS, num_threads=num_threads
    )
