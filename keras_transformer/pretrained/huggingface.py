"""Reads the weights of a Hugging Face BERT folder under the names of `names.Weight`."""

import re
from pathlib import Path

import numpy as np

from keras_transformer.models import EncoderConfig
from keras_transformer.pretrained import configs
from keras_transformer.pretrained.checkpoint import StoredTensor, open_checkpoint, read_json
from keras_transformer.pretrained.names import POOLER, Weight, to_torch_layout

HEAD_NAMES = ("classifier.weight", "classifier.bias")
OUR_HEAD_NAMES = ("keras_transformer.head.weight", "keras_transformer.head.bias")
OUR_SECTION = "keras_transformer"
"""Key of our own fields in config.json, and prefix of tensors that no architecture of transformers has."""

# Left behind as a matter of course: buffers, and the heads of other tasks.
_USUALLY_UNUSED = re.compile(r"embeddings\.(position|token_type)_ids$|(cls|classifier|qa_outputs|keras_transformer)\.")


class HuggingFaceFolder:
    """A Hugging Face BERT folder: its config, and its tensors under names without prefix.

    Args:
        folder: The folder, with `config.json` and safetensors.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is damaged, or two tensors have the same name but for the prefix.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.values = read_json(folder / "config.json")
        configs.from_huggingface(self.values, pooler=False)  # refuses other architectures before any file is opened
        self.tensors: dict[str, StoredTensor] = {}
        for name, tensor in open_checkpoint(folder).items():
            plain = _plain_name(name)
            if plain in self.tensors:
                raise ValueError(
                    f"{folder} holds the tensor {plain!r} twice, as {self.tensors[plain].name!r} and as {name!r}."
                )
            self.tensors[plain] = tensor

    @property
    def has_pooler(self) -> bool:
        """Whether the checkpoint holds a pooler."""
        return POOLER in self.tensors

    def config(self, pooler: bool) -> EncoderConfig:
        """Returns the encoder's config; `pooler` says whether it shall have one."""
        return configs.from_huggingface(self.values, pooler)

    def read(self, weight: Weight, shape: tuple[int, ...]) -> np.ndarray:
        """Returns the values of a weight in our layout, float32 of shape `shape`.

        Raises:
            ValueError: If the tensor is missing or has another shape.
        """
        stored_shape = tuple(reversed(shape)) if weight.is_kernel else shape
        return to_torch_layout(weight, self.read_tensor(weight.huggingface, stored_shape))

    def read_tensor(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """Returns the values of the tensor `name`, as stored, as float32.

        Raises:
            ValueError: If the tensor is missing or has another shape.
        """
        if name not in self.tensors:
            raise ValueError(
                f"{self.folder} lacks the tensor {name!r}, expected with shape {shape}. Received: "
                f"{len(self.tensors)} other tensors, such as {', '.join(map(repr, list(self.tensors)[:3]))}"
            )
        tensor = self.tensors[name]
        if tensor.shape != shape:
            raise ValueError(
                f"Tensor {tensor.name!r} in {tensor.path} does not fit config.json: expected shape {shape}. "
                f"Received: shape {tensor.shape}"
            )
        return tensor.read()

    @property
    def names(self) -> dict[str, str]:
        """Names without prefix -> names as stored, of all tensors."""
        return {plain: tensor.name for plain, tensor in self.tensors.items()}

    def name_of(self, weight: Weight) -> str:
        """Returns the name of a weight in this format."""
        return weight.huggingface

    def usually_unused(self, plain: str) -> bool:
        """Whether an encoder leaves this tensor as a matter of course."""
        return _USUALLY_UNUSED.match(plain) is not None


def _plain_name(name: str) -> str:
    """Drops the prefix of the task models, and turns the names of the first TensorFlow conversions into today's."""
    name = name.removeprefix("bert.")
    if name.endswith("LayerNorm.gamma"):
        return name.removesuffix("gamma") + "weight"
    return name.removesuffix("beta") + "bias" if name.endswith("LayerNorm.beta") else name
