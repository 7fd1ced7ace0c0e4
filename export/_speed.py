"""Times one artefact; a script for a process of its own, so that its memory can be read and its threads are its own."""

import json
import os
import sys
import time


def main(job: dict) -> int:
    """Runs the artefact and prints one JSON object: `milliseconds` (one number a call) and `megabytes`.

    Args:
        job: Dict of `path`, `inputs` (name -> list), `threads`, `calls`.
    """
    run = _open(job)
    before = _resident()
    call = run()
    for _ in range(3):
        call()
    times = []
    for _ in range(job["calls"]):
        start = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - start))
    print(json.dumps({"milliseconds": times, "megabytes": _resident() - before}))
    return 0


def _open(job: dict):
    """Imports what is needed, and returns the function that loads the model and returns its call."""
    import numpy as np

    if job["path"].endswith(".onnx"):
        import onnxruntime

        inputs = {name: np.array(value, np.int32) for name, value in job["inputs"].items()}
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = job["threads"]

        def load_onnx():
            session = onnxruntime.InferenceSession(job["path"], options, providers=["CPUExecutionProvider"])
            return lambda: session.run(None, inputs)

        return load_onnx
    if os.path.isfile(job["path"]):
        from ai_edge_litert.interpreter import InterpreterWithCustomOps

        custom = []
        if "text" in job["inputs"]:
            from tensorflow_text.core.pybinds import tflite_registrar

            custom = tflite_registrar.SELECT_TFTEXT_OPS
        dtype = object if "text" in job["inputs"] else np.int32
        inputs = {name: np.array(value, dtype) for name, value in job["inputs"].items()}

        def load():
            interpreter = InterpreterWithCustomOps(
                model_path=job["path"], custom_op_registerers=custom, num_threads=job["threads"]
            )
            runner = interpreter.get_signature_runner()
            return lambda: runner(**inputs)

        return load
    import tensorflow as tf
    import tensorflow_text  # noqa: F401 - registers the operators of the packer

    tf.config.threading.set_intra_op_parallelism_threads(job["threads"])
    tf.config.threading.set_inter_op_parallelism_threads(1)
    constants = {name: tf.constant(value) for name, value in job["inputs"].items()}

    def load():
        loaded = tf.saved_model.load(job["path"])
        # The loaded object owns the weights.
        return lambda owner=loaded: owner.signatures["serving_default"](**constants)

    return load


def _resident() -> float:
    """Resident memory of this process in MB."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.exit(main(json.load(sys.stdin)))
