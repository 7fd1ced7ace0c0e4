"""A model in a session, with the checks of TensorFlow Serving's sources: what the stand-in server answers with."""

import concurrent.futures
import queue
import threading
import time

import numpy as np

from keras_transformer.export.serving.messages import message
from keras_transformer.export.serving.tensors import from_proto

# gRPC status of each error, and what http_server.cc makes of it.
HTTP = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "NOT_FOUND": 404,
    "DEADLINE_EXCEEDED": 504,
    "UNAVAILABLE": 503,
    "INTERNAL": 500,
}


class Refused(Exception):
    """A status that is not OK."""

    def __init__(self, code, text):
        super().__init__(text)
        self.code, self.text = code, text


class Servable:
    """One version of a model in a session, as the server holds it."""

    def __init__(self, version, check_method_names=True):
        import tensorflow as tf
        import tensorflow_text  # noqa: F401 - the server links its operators

        self.version = int(version.name)
        self.check_method_names = check_method_names
        self.session = tf.compat.v1.Session(graph=tf.Graph())
        with self.session.graph.as_default():
            meta_graph = tf.compat.v1.saved_model.loader.load(self.session, ["serve"], str(version))
        self.definitions = dict(meta_graph.signature_def)
        self.runners = {}
        self.batcher = None
        self.lock = threading.Lock()
        self.errors = tf.errors.OpError

    def warm_up(self, version):
        """saved_model_warmup.cc: answers the recorded requests, any of which may fail the load; returns how many."""
        import tensorflow as tf

        path = version / "assets.extra" / "tf_serving_warmup_requests"
        answer = {"predict_log": self.predict, "classify_log": self.classify, "regress_log": self.regress}
        count = 0
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator() if path.is_file() else ():
            log = message("PredictionLog").FromString(record)
            kind = log.WhichOneof("log_type")
            answer[kind](getattr(log, kind).request)
            count += 1
        return count

    def run(self, inputs, outputs):
        """Runs tensors by name, through the batcher if there is one."""
        return self.batcher.run(inputs, outputs) if self.batcher else self.run_alone(inputs, outputs)

    def run_alone(self, inputs, outputs):
        names = tuple(inputs)
        key = (names, tuple(outputs))
        with self.lock:
            if key not in self.runners:
                self.runners[key] = self.session.make_callable(list(outputs), feed_list=list(names))
        try:
            return self.runners[key](*inputs.values())
        except self.errors as error:
            raise Refused("INVALID_ARGUMENT", error.message) from error

    def predict(self, request):
        """predict_util.cc: PreProcessPrediction, Run, PostProcessPredictionResult."""
        definition = self.definition(request, "FAILED_PRECONDITION", 'Serving signature key "{}" not found.')
        sent, wanted = set(request.inputs), set(definition.inputs)
        if len(sent) != len(wanted):
            raise Refused(
                "INVALID_ARGUMENT",
                f"input size does not match signature: {len(sent)}!={len(wanted)} len({{{','.join(sorted(sent))}}}) != "
                f"len({{{','.join(sorted(wanted))}}}). Sent extra: {{{','.join(sorted(sent - wanted))}}}. "
                f"Missing but required: {{{','.join(sorted(wanted - sent))}}}.",
            )
        if sent != wanted:
            extra = ",".join(sorted(sent - wanted))
            raise Refused("INVALID_ARGUMENT", f"input tensor alias not found in signature: {extra}.")
        inputs = {}
        for name, proto in request.inputs.items():
            if proto.dtype != definition.inputs[name].dtype:
                raise Refused("INVALID_ARGUMENT", f"input tensor {name} has the wrong type: {proto.dtype}")
            inputs[definition.inputs[name].name] = from_proto(proto)
        names = list(request.output_filter) or sorted(definition.outputs)
        unknown = [name for name in names if name not in definition.outputs]
        if unknown:
            raise Refused("INVALID_ARGUMENT", f"output tensor alias not found in signature: {unknown[0]}")
        values = self.run(inputs, [definition.outputs[name].name for name in names])
        return dict(zip(names, values, strict=True))

    def classify(self, request):
        """classifier.cc: PreProcessClassification and PostProcessClassificationResult."""
        definition = self.definition(request, "INVALID_ARGUMENT", "No signature was found with the name: {}")
        self.check_method(definition, "classification", "classify")
        examples = self.examples(definition, request)
        if len(definition.outputs) not in (1, 2):
            found = len(definition.outputs)
            raise Refused("INVALID_ARGUMENT", f"Expected one or two output Tensors, found {found}")
        names = [name for name in ("classes", "scores") if name in definition.outputs]
        if not names:
            raise Refused(
                "FAILED_PRECONDITION", "Expected classification signature outputs to contain classes or scores"
            )
        values = self.run(
            {definition.inputs["inputs"].name: examples}, [definition.outputs[name].name for name in names]
        )
        for name, value in zip(names, values, strict=True):
            if value.ndim != 2:
                raise Refused(
                    "INVALID_ARGUMENT", f"Expected Tensor shape: [batch_size num_classes] but got {value.shape}"
                )
            if value.dtype != {"classes": np.dtype(object), "scores": np.dtype("float32")}[name]:
                raise Refused("INVALID_ARGUMENT", f"Expected {name} Tensor of another type. Got: {value.dtype}")
            if len(value) != len(examples):
                raise Refused("INVALID_ARGUMENT", f"Expected {name} output batch size of {len(examples)}.")
        if len({value.shape for value in values}) != 1:
            raise Refused("INVALID_ARGUMENT", "Tensors class and score should match in dim_size(1).")
        found = dict(zip(names, values, strict=True))
        count = values[0].shape[1]
        classes = found.get("classes", np.full((len(examples), count), b"", object))
        scores = found.get("scores", np.zeros((len(examples), count), np.float32))
        return [
            [(label.decode(), float(score)) for label, score in zip(*row, strict=True)]
            for row in zip(classes, scores, strict=True)
        ]

    def regress(self, request):
        """regressor.cc: PreProcessRegression and PostProcessRegressionResult."""
        definition = self.definition(request, "INVALID_ARGUMENT", "No signature was found with the name: {}")
        self.check_method(definition, "regression", "regress")
        examples = self.examples(definition, request)
        if set(definition.outputs) != {"outputs"}:
            raise Refused("FAILED_PRECONDITION", "No regression outputs found in SignatureDef")
        (value,) = self.run({definition.inputs["inputs"].name: examples}, [definition.outputs["outputs"].name])
        if value.shape not in ((len(examples),), (len(examples), 1)):
            raise Refused(
                "INVALID_ARGUMENT",
                f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got {value.shape}",
            )
        if value.dtype != np.float32:
            raise Refused("INVALID_ARGUMENT", f"Expected output Tensor of DT_FLOAT.  Got: {value.dtype}")
        return value.reshape(-1).tolist()

    def definition(self, request, code, text):
        name = request.model_spec.signature_name or "serving_default"
        if name not in self.definitions:
            raise Refused(code, text.format(name))
        return self.definitions[name]

    def check_method(self, definition, kind, method):
        wanted = f"tensorflow/serving/{method}"
        if self.check_method_names and definition.method_name != wanted:
            raise Refused(
                "INVALID_ARGUMENT",
                f"Expected {kind} signature method_name to be {wanted}. Was: {definition.method_name}",
            )

    @staticmethod
    def examples(definition, request):
        if len(definition.inputs) != 1:
            raise Refused("INVALID_ARGUMENT", "Expected one input Tensor.")
        if "inputs" not in definition.inputs:
            raise Refused("FAILED_PRECONDITION", "No classification inputs found in SignatureDef")
        rows = [entry.SerializeToString() for entry in request.input.example_list.examples]
        if not rows:
            raise Refused("INVALID_ARGUMENT", "Input is empty.")
        return np.array(rows, object)


class Batcher:
    """batching_session.cc: requests for the same tensors wait for each other and run as one."""

    def __init__(self, servable, parameters):
        self.servable = servable
        self.sizes = list(parameters.allowed_batch_sizes)
        self.largest = parameters.max_batch_size.value
        self.timeout = parameters.batch_timeout_micros.value / 1e6
        self.most = parameters.max_enqueued_batches.value * self.largest
        self.threads = concurrent.futures.ThreadPoolExecutor(parameters.num_batch_threads.value)
        self.free = threading.Semaphore(parameters.num_batch_threads.value)
        self.queues = {}
        self.lock = threading.Lock()
        self.batches = 0

    def run(self, inputs, outputs):
        sizes = {len(value) for value in inputs.values()}
        if len(sizes) != 1:
            raise Refused("INVALID_ARGUMENT", "Batching session Run() input tensors must have equal 0th-dimension size")
        (size,) = sizes
        if size > self.largest:
            raise Refused(
                "INVALID_ARGUMENT", f"Task size {size} is larger than maximum input batch size {self.largest}"
            )
        key = (tuple(sorted(inputs)), tuple(outputs))
        with self.lock:
            if key not in self.queues:
                self.queues[key] = queue.Queue()
                threading.Thread(target=self.form, args=(key,), daemon=True).start()
        if self.queues[key].qsize() >= self.most:
            raise Refused("UNAVAILABLE", "The batch scheduling queue to which this task was submitted is full")
        task = (inputs, size, concurrent.futures.Future())
        self.queues[key].put(task)
        return task[2].result()

    def form(self, key):
        """Takes tasks from one queue and hands them on in batches."""
        waiting, left_over = self.queues[key], None
        while True:
            batch = [left_over or waiting.get()]
            left_over, size, deadline = None, batch[0][1], time.monotonic() + self.timeout
            while size < self.largest:
                try:
                    task = waiting.get(timeout=max(0.0, deadline - time.monotonic()))
                except queue.Empty:
                    break
                if size + task[1] > self.largest:
                    left_over = task
                    break
                batch.append(task)
                size += task[1]
            self.free.acquire()
            self.threads.submit(self.process, key, batch, size)

    def process(self, key, batch, size):
        try:
            names, outputs = key
            allowed = next(allowed for allowed in self.sizes if allowed >= size)
            merged = {}
            for name in names:
                parts = [inputs[name] for inputs, _, _ in batch]
                if len({part.shape[1:] for part in parts}) != 1:
                    raise Refused(
                        "FAILED_PRECONDITION",
                        f"Tensors with name '{name}' from different tasks have different shapes and padding is off.",
                    )
                # The rows that fill the batch up are copies of the first of the last task.
                merged[name] = np.concatenate([*parts, *[parts[-1][:1]] * (allowed - size)])
            values = self.servable.run_alone(merged, outputs)
            for value in values:
                if value.shape[:1] != (allowed,):
                    raise Refused(
                        "FAILED_PRECONDITION", "0th dimension sizes of the input and output tensors must match"
                    )
            start = 0
            for _, count, future in batch:
                future.set_result([value[start : start + count] for value in values])
                start += count
            self.batches += 1
        except Exception as error:
            for _, _, future in batch:
                future.set_exception(error)
        finally:
            self.free.release()


def batching_parameters(version):
    """The parameters that lie in a version folder."""
    from google.protobuf import text_format

    text = (version / "batching_params.pbtxt").read_text(encoding="utf-8")
    return text_format.Parse(text, message("BatchingParameters")())
