"""A stand-in for TensorFlow Serving: Python, gRPC and REST, with the checks of the real server's sources.

It is not the server: it has its signatures, requests, errors and batching, and neither its speed nor its threads. The
model is loaded by the session loader of TensorFlow 1, as the server loads it. The checks follow predict_util.cc,
classifier.cc, regressor.cc, batching_session.cc and http_rest_prediction_handler.cc of tensorflow/serving.

    python benchmarks/stand_in_server.py --model_base_path=export/saved_model --model_name=model --batching
"""

import argparse
import concurrent.futures
import http.server
import json
import pathlib
import re
import sys
import threading
import time

if __name__ == "__main__":
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from benchmarks.stand_in_json import answer_json
from benchmarks.stand_in_servable import HTTP, Batcher, Refused, Servable, batching_parameters
from keras_transformer.export.serving.messages import METHODS, message
from keras_transformer.export.serving.tensors import to_proto


class StandIn:
    """A server of one model on two ports of this machine.

    Args:
        base_path: Folder of version folders; all of them are loaded.
        name: Name of the model.
        batching: Whether requests are batched, with the parameters in the version folder.
        ports: (gRPC, REST); 0 for a free one.
        delay: Seconds that every answer waits, for tests of deadlines.
        labels: Label -> version.
    """

    def __init__(self, base_path, name="model", batching=False, ports=(0, 0), delay=0.0, labels=None, threads=64):
        versions = [path for path in pathlib.Path(base_path).iterdir() if path.name.isdecimal()]
        self.name, self.delay, self.labels = name, delay, labels or {}
        self.servables = {int(path.name): Servable(path) for path in versions}
        for path in versions:
            self.servables[int(path.name)].warm_up(path)
        if batching:
            for path in versions:
                self.servables[int(path.name)].batcher = Batcher(
                    self.servables[int(path.name)], batching_parameters(path)
                )
        self.threads = threads
        self._start_grpc(ports[0])
        self._start_rest(ports[1])

    def servable(self, spec):
        """server_core.cc: the version, the label's, or the highest."""
        if spec.name != self.name:
            raise Refused("NOT_FOUND", f"Servable not found for request: Latest({spec.name})")
        choice = spec.WhichOneof("version_choice")
        if choice == "version_label" and spec.version_label not in self.labels:
            raise Refused("INVALID_ARGUMENT", f"Unrecognized servable version label: {spec.version_label}")
        version = {
            "version": lambda: spec.version.value,
            "version_label": lambda: self.labels[spec.version_label],
            None: lambda: max(self.servables),
        }[choice]()
        if version not in self.servables:
            raise Refused("NOT_FOUND", f"Servable not found for request: Specific({spec.name}, {version})")
        return self.servables[version]

    def answer(self, method, request):
        """Response to a request of one of the gRPC methods."""
        time.sleep(self.delay)
        response = message(METHODS[method][2])()
        servable = self.servable(request.model_spec)
        if method == "GetModelStatus":
            for version in sorted(self.servables):
                response.model_version_status.add(version=version, state=30)
        elif method == "GetModelMetadata":
            definitions = message("SignatureDefMap")()
            for name, definition in servable.definitions.items():
                definitions.signature_def[name].ParseFromString(definition.SerializeToString())
            response.metadata["signature_def"].Pack(definitions)
        elif method == "Predict":
            for name, value in servable.predict(request).items():
                response.outputs[name].CopyFrom(to_proto(value))
        elif method == "Classify":
            for row in servable.classify(request):
                entry = response.result.classifications.add()
                for label, score in row:
                    entry.classes.add(label=label, score=score)
        else:
            for value in servable.regress(request):
                response.result.regressions.add(value=value)
        if method != "GetModelStatus":
            response.model_spec.name = self.name
            response.model_spec.version.value = servable.version
        return response

    def close(self):
        self.grpc_server.stop(0)
        self.rest_server.shutdown()
        self.rest_server.server_close()

    def _start_grpc(self, port):
        import grpc

        def handler(method):
            def behave(request, context):
                try:
                    return self.answer(method, request)
                except Refused as error:
                    context.abort(getattr(grpc.StatusCode, error.code), error.text)

            return grpc.unary_unary_rpc_method_handler(
                behave,
                request_deserializer=message(METHODS[method][1]).FromString,
                response_serializer=message(METHODS[method][2]).SerializeToString,
            )

        self.grpc_server = grpc.server(
            concurrent.futures.ThreadPoolExecutor(self.threads),
            options=[("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)],
        )
        for service in ("PredictionService", "ModelService"):
            methods = {method: handler(method) for method, (owner, _, _) in METHODS.items() if owner == service}
            self.grpc_server.add_generic_rpc_handlers(
                [grpc.method_handlers_generic_handler(f"tensorflow.serving.{service}", methods)]
            )
        self.grpc_port = self.grpc_server.add_insecure_port(f"127.0.0.1:{port}")
        self.grpc_server.start()

    def _start_rest(self, port):
        self.rest_server = _RestServer(("127.0.0.1", port), _rest_handler(self))
        self.rest_port = self.rest_server.server_address[1]
        threading.Thread(target=self.rest_server.serve_forever, daemon=True).start()


class _RestServer(http.server.ThreadingHTTPServer):
    daemon_threads = True
    # Clients that come at once wait for their turn: the five of the base class are refused from the sixth on.
    request_queue_size = 128


PATH = re.compile(
    r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
    r"(?P<action>:classify|:regress|:predict|/metadata)?"
)


def _rest_handler(stand_in):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Answer and headers in one packet: two wait for each other.
        wbufsize = -1
        disable_nagle_algorithm = True

        def do_GET(self):
            self.reply("GET", None)

        def do_POST(self):
            self.reply("POST", self.rfile.read(int(self.headers.get("Content-Length", 0))))

        def reply(self, method, body):
            found = PATH.fullmatch(self.path)
            try:
                if not found or (method == "POST") != str(found["action"]).startswith(":"):
                    raise Refused("INVALID_ARGUMENT", f"Malformed request: {method} {self.path}")
                status, answer = 200, answer_json(stand_in, found, body)
            except Refused as error:
                status, answer = HTTP[error.code], {"error": error.text}
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments):
            pass

    return Handler


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model_base_path", type=pathlib.Path, required=True, help="folder of version folders")
    parser.add_argument("--model_name", default="model")
    parser.add_argument("--port", type=int, default=8500, help="of gRPC; 0 for a free one")
    parser.add_argument("--rest_api_port", type=int, default=8501, help="0 for a free one")
    parser.add_argument("--batching", action="store_true", help="with the batching_params.pbtxt of the version")
    options = parser.parse_args()
    ports = (options.port, options.rest_api_port)
    server = StandIn(options.model_base_path, options.model_name, options.batching, ports)
    print(json.dumps({"grpc": server.grpc_port, "rest": server.rest_port}), flush=True)
    # Until the other end of standard input closes, or the process is ended.
    sys.stdin.read()
    server.close()


if __name__ == "__main__":
    main()
