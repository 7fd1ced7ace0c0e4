"""Reads a keras-nlp (keras-hub) preset folder with h5py: no model is built and nothing is unpickled."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from keras_transformer.pretrained import configs
from keras_transformer.pretrained.checkpoint import read_json
from keras_transformer.pretrained.families import family_of_preset
from keras_transformer.pretrained.layouts import Shape
from keras_transformer.pretrained.tables import Config, Weight, preset_weights

BACKBONE_WEIGHTS = "model.weights.h5"
TASK_WEIGHTS = "task.weights.h5"

# Early Keras 3 stored no layer names: its groups are named for the class and numbered in the order of the layers. Only
# BERT's can be told apart by that.
_LAYER_OF_GROUP = {
    "reversible_embedding": "token_embedding",
    "position_embedding": "position_embedding",
    "embedding": "segment_embedding",
    "layer_normalization": "embeddings_layer_norm",
    "transformer_encoder": "transformer_layer_0",
}


class KerasHubPreset:
    """A preset folder of a backbone, or of a task over one.

    Args:
        folder: The folder, with `config.json` and `model.weights.h5`.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If the preset holds another backbone, or a file is damaged.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.values = read_json(folder / "config.json")
        self.family = family_of_preset(self.values.get("class_name"))
        self.has_pooler = self.family.preset.pooler
        self.config(self.has_pooler, tied=True)  # refuses what cannot be loaded before any file is opened
        self.arrays = _read_h5(folder / BACKBONE_WEIGHTS, last_dense="pooled_dense")

    def config(self, pooler: bool, tied: bool | None = None) -> Config:
        """Returns the config of the model; `pooler` says whether an encoder shall have one."""
        preset = self.family.preset
        tied = not preset.head or preset.head not in self.arrays if tied is None else tied
        return configs.to_config(self.family, preset.from_preset(self.values["config"]), pooler=pooler, tied=tied)

    def weights(self, config: Config) -> list[Weight]:
        """Returns the arrays that a model of this config reads."""
        return preset_weights(self.family.rows(config, {}), config)

    def read(self, weight: Weight, shapes: list[Shape]) -> list[np.ndarray]:
        """Returns the values of our variables, float32 of these shapes.

        Raises:
            ValueError: If the dataset is missing or has another shape.
        """
        stored = weight.layout.stored_shape(shapes)
        return weight.layout.split(self._pick(self.arrays, BACKBONE_WEIGHTS, weight.theirs, stored), shapes)

    def task(self) -> dict[str, Any]:
        """Returns the config of the preset's `BertTextClassifier`.

        Raises:
            ValueError: If the preset holds no such task, or one that answers something else than logits.
        """
        path = self.folder / "task.json"
        task = read_json(path) if path.is_file() else {}
        if task.get("class_name") != "BertTextClassifier" or not (self.folder / TASK_WEIGHTS).is_file():
            raise ValueError(
                f"The preset holds no BertTextClassifier with weights, so it has no head to load; use load_encoder. "
                f"Received: {self.folder} with task {task.get('class_name')!r}"
            )
        config = task["config"]
        if config.get("activation", "linear") not in ("linear", None):
            raise ValueError(
                f"Only a BertTextClassifier that answers logits (activation='linear') can be loaded. "
                f"Received: activation={config['activation']!r}"
            )
        return config

    def read_head(self, num_outputs: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns kernel (hidden_dim, num_outputs) and bias (num_outputs,) of the preset's classifier.

        Raises:
            ValueError: If they are missing or have other shapes.
        """
        arrays = _read_h5(self.folder / TASK_WEIGHTS, last_dense="logits")
        kernel_shape = (self.values["config"]["hidden_dim"], num_outputs)
        kernel = self._pick(arrays, TASK_WEIGHTS, "logits/0", kernel_shape)
        return kernel, self._pick(arrays, TASK_WEIGHTS, "logits/1", (num_outputs,))

    @property
    def names(self) -> dict[str, str]:
        """Names of all datasets, and the file of the task's head if there is one, each to itself."""
        head = [TASK_WEIGHTS] if (self.folder / TASK_WEIGHTS).is_file() else []
        return {name: name for name in [*self.arrays, *head]}

    def names_of(self, weight: Weight) -> list[str]:
        """Returns the name of a weight in this format."""
        return [weight.theirs]

    def usually_unused(self, name: str) -> bool:
        """Whether a model leaves this as a matter of course."""
        return name == TASK_WEIGHTS

    def _pick(self, arrays: dict[str, np.ndarray], file: str, name: str, shape: tuple[int, ...]) -> np.ndarray:
        if name not in arrays:
            raise ValueError(
                f"{self.folder / file} lacks {name!r}, expected with shape {shape}. Received: "
                f"{len(arrays)} other datasets, such as {', '.join(map(repr, list(arrays)[:3]))}"
            )
        if arrays[name].shape != shape:
            raise ValueError(
                f"{name!r} in {self.folder / file} does not fit config.json: expected shape {shape}. "
                f"Received: shape {arrays[name].shape}"
            )
        return arrays[name]


def _read_h5(path: Path, last_dense: str) -> dict[str, np.ndarray]:
    """Returns the arrays of a `.weights.h5` under `LAYER/SUBLAYER/.../NUMBER`, whatever version of Keras 3 wrote it."""
    arrays = {}
    try:
        with h5py.File(path) as file:
            for group_name, group in file["layers"].items():
                layer = _layer_name(group_name, group, last_dense)

                def visit(name: str, node: h5py.Group | h5py.Dataset, layer: str = layer) -> None:
                    if isinstance(node, h5py.Dataset) and "seed_generator" not in name:
                        # `_query_dense` became `query_dense` during Keras 3; the other private names stayed.
                        parts = [part for part in name.split("/") if part != "vars"]
                        parts = [part[1:] if part in _RENAMED else part for part in parts]
                        arrays["/".join((layer, *parts))] = _float32(node, path)

                group.visititems(visit)
    except (OSError, KeyError) as error:
        raise ValueError(
            f"{path} is truncated, damaged or not written by Keras 3 ({error}). Download or copy it again."
        ) from error
    return arrays


_RENAMED = ("_query_dense", "_key_dense", "_value_dense", "_output_dense")


def _layer_name(group_name: str, group: h5py.Group, last_dense: str) -> str:
    name = group["vars"].attrs.get("name") if "vars" in group else None
    if name is not None:
        return str(name)
    if group_name.startswith("transformer_encoder_"):
        return group_name.replace("transformer_encoder_", "transformer_layer_")
    return last_dense if group_name == "dense" else _LAYER_OF_GROUP.get(group_name, group_name)


def _float32(node: h5py.Dataset, path: Path) -> np.ndarray:
    value = np.array(node)
    if node.attrs.get("dtype") == "bfloat16":
        value = value.view("bfloat16")  # a dtype that Keras has registered with NumPy
    elif value.dtype.kind != "f":
        raise ValueError(
            f"{node.name!r} in {path} is not floating point; quantized presets cannot be loaded. "
            f"Received: dtype {value.dtype}"
        )
    return value.astype(np.float32)
