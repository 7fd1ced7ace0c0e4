"""The configuration files of a TensorFlow Serving: text protos that its own messages parse, and a compose file."""

import pathlib
from typing import Any

from .messages import message
from .options import ServingOptions

IMAGE = "tensorflow/serving:2.20.0"
"""The first official image whose TF Text (2.20) is known to have the operators of the packer."""
BATCHING_FILE = "batching_params.pbtxt"
"""In the version folder, where `--enable_per_model_batching_parameters` looks for it."""
FOLDER = "serving"

_BATCHING = """\
# Read with --enable_batching --batching_parameters_file=FILE; inside the version folder also with
# --enable_per_model_batching_parameters. Only signatures that take text may be batched across requests: token ids of
# different lengths do not fit into one batch, and the padding of the server would be attended to.
"""
_MODELS = """\
# Read with --model_config_file=FILE. The server takes the highest version and follows new ones. To keep several:
#   model_version_policy { specific { versions: 1 versions: 2 } }
#   version_labels { key: "stable" value: 1 }
"""
_MONITORING = """\
# Read with --monitoring_config_file=FILE; the page is on the REST port.
"""
_COMPOSE = """\
# docker compose up: gRPC on port 8500, REST on 8501, metrics on http://localhost:8501{metrics}
services:
  {name}:
    image: {image}
    # The image's own entry point sets the ports.
    command:
      - --model_config_file=/config/models.config
      - --monitoring_config_file=/config/monitoring.config
      - --enable_batching=true
      - --batching_parameters_file=/config/batching.config
    ports:
      - "8500:8500"
      - "8501:8501"
    volumes:
      - ../saved_model:/models/{name}:ro
      - ./:/config:ro
    restart: unless-stopped
"""
METRICS_PATH = "/monitoring/prometheus/metrics"


def batching_text(options: ServingOptions) -> str:
    """Returns the batching parameters as a text proto."""
    parameters = message("BatchingParameters")(allowed_batch_sizes=options.batch_sizes)
    parameters.max_batch_size.value = options.batch_sizes[-1]
    parameters.batch_timeout_micros.value = options.batch_timeout_micros
    parameters.max_enqueued_batches.value = options.max_enqueued_batches
    parameters.num_batch_threads.value = options.num_batch_threads
    return _BATCHING + _text(parameters)


def write_server_files(folder: pathlib.Path, options: ServingOptions) -> None:
    """Writes `models.config`, `batching.config`, `monitoring.config` and `docker-compose.yml`.

    Args:
        folder: Folder to create; `saved_model/` must stand beside it.
        options: `ServingOptions`.
    """
    server = message("ModelServerConfig")()
    server.model_config_list.config.add(
        name=options.model_name, base_path=f"/models/{options.model_name}", model_platform="tensorflow"
    )
    monitoring = message("MonitoringConfig")()
    monitoring.prometheus_config.enable = True
    monitoring.prometheus_config.path = METRICS_PATH
    folder.mkdir()
    files = {
        "models.config": _MODELS + _text(server),
        "batching.config": batching_text(options),
        "monitoring.config": _MONITORING + _text(monitoring),
        "docker-compose.yml": _COMPOSE.format(name=options.model_name, image=IMAGE, metrics=METRICS_PATH),
    }
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")


def check_batching(version: pathlib.Path) -> None:
    """Refuses batching parameters with which a server would not start.

    Args:
        version: Version folder; without the file all is well.

    Raises:
        ValueError: If the file is damaged.
    """
    from google.protobuf import text_format

    path = version / BATCHING_FILE
    if not path.is_file():
        return
    try:
        parameters = text_format.Parse(path.read_text(encoding="utf-8"), message("BatchingParameters")())
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise ValueError(f"{BATCHING_FILE} is damaged: {error}") from error
    sizes = list(parameters.allowed_batch_sizes)
    if sizes != sorted(set(sizes)) or (sizes and sizes[-1] != parameters.max_batch_size.value):
        raise ValueError(
            f"{BATCHING_FILE}: allowed_batch_sizes must increase and end with max_batch_size. "
            f"Received: {sizes}, max_batch_size {parameters.max_batch_size.value}"
        )
    if parameters.pad_variable_length_inputs:
        raise ValueError(f"{BATCHING_FILE}: pad_variable_length_inputs pads with the first token, not with zeros.")


def _text(proto: Any) -> str:
    from google.protobuf import text_format

    return text_format.MessageToString(proto)
