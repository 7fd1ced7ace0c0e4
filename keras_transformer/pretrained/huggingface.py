"""Reads the weights of a Hugging Face folder by the table of its family."""

import re
from pathlib import Path

import numpy as np

from keras_transformer.pretrained import configs
from keras_transformer.pretrained.checkpoint import StoredTensor, open_checkpoint, read_json
from keras_transformer.pretrained.families import family_named
from keras_transformer.pretrained.layouts import Shape
from keras_transformer.pretrained.tables import Config, Weight, huggingface_weights

OUR_HEAD = "keras_transformer.head"
OUR_SECTION = "keras_transformer"
"""Key of our own fields in config.json, and prefix of tensors that no architecture of transformers has."""

# Left behind as a matter of course in every family: buffers of positions, and what we stored ourselves.
_USUALLY_UNUSED = r"embeddings\.(position|token_type)_ids$|keras_transformer\.|"


class HuggingFaceFolder:
    """A Hugging Face folder: its config, and its tensors under names without prefix.

    Args:
        folder: The folder, with `config.json` and safetensors.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is damaged, or two tensors have the same name but for the prefix.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.values = read_json(folder / "config.json")
        configs.from_huggingface(self.values)  # refuses what cannot be loaded before any file is opened
        self.family = family_named(self.values["model_type"])
        self.tensors: dict[str, StoredTensor] = {}
        for name, tensor in open_checkpoint(folder).items():
            plain = self._plain(name)
            if plain in self.tensors:
                raise ValueError(
                    f"{folder} holds the tensor {plain!r} twice, as {self.tensors[plain].name!r} and as {name!r}."
                )
            self.tensors[plain] = tensor

    @property
    def has_pooler(self) -> bool:
        """Whether the checkpoint holds a pooler."""
        return bool(self.family.pooler) and f"{self.family.pooler}.weight" in self.tensors

    def config(self, pooler: bool) -> Config:
        """Returns the config of the model; `pooler` says whether an encoder shall have one."""
        return configs.from_huggingface(self.values, pooler=pooler, tied=self._tied())

    def weights(self, config: Config) -> list[Weight]:
        """Returns the tensors that a model of this config reads."""
        return huggingface_weights(self.family.rows(config, self.values), config)

    def read(self, weight: Weight, shapes: list[Shape]) -> list[np.ndarray]:
        """Returns the values of our variables, float32 of these shapes, from the tensor that holds them.

        Raises:
            ValueError: If the tensor is missing, has another shape, or differs from a copy of it.
        """
        name, *copies = self._found(weight) or [weight.theirs]
        if not copies and not weight.needed and name not in self.tensors:
            return []
        value = self.read_tensor(name, weight.layout.stored_shape(shapes))
        for copy in copies:
            if not np.array_equal(value, self.read_tensor(copy, value.shape)):
                raise ValueError(
                    f"Tensors {self.tensors[name].name!r} and {self.tensors[copy].name!r} in {self.folder} must be the "
                    "same, as the model has one for both. Received: different values"
                )
        try:
            return weight.layout.split(value, shapes)
        except ValueError as error:
            raise ValueError(f"Tensor {self.tensors[name].name!r} in {self.folder}: {error}") from error

    def read_tensor(self, name: str, shape: Shape) -> np.ndarray:
        """Returns the values of the tensor `name`, as stored, as float32.

        Raises:
            ValueError: If the tensor is missing or has another shape.
        """
        plain = self._plain(name)
        if plain not in self.tensors:
            raise ValueError(
                f"{self.folder} lacks the tensor {name!r}, expected with shape {shape}. Received: "
                f"{len(self.tensors)} other tensors, such as {', '.join(map(repr, list(self.tensors)[:3]))}"
            )
        tensor = self.tensors[plain]
        if tensor.shape != shape:
            raise ValueError(
                f"Tensor {tensor.name!r} in {tensor.path} does not fit config.json: expected shape {shape}. "
                f"Received: shape {tensor.shape}"
            )
        return tensor.read()

    def rename(self, before: str, after: str) -> None:
        """Calls the tensors of a layer by another name, if they are there."""
        for part in ("weight", "bias"):
            if f"{before}.{part}" in self.tensors:
                self.tensors[f"{after}.{part}"] = self.tensors.pop(f"{before}.{part}")

    @property
    def names(self) -> dict[str, str]:
        """Names without prefix -> names as stored, of all tensors."""
        return {plain: tensor.name for plain, tensor in self.tensors.items()}

    def names_of(self, weight: Weight) -> list[str]:
        """Returns the names without prefix under which a weight can be stored."""
        return [self._plain(name) for name in (weight.theirs, *weight.copies)]

    def usually_unused(self, plain: str) -> bool:
        """Whether a model leaves this tensor as a matter of course."""
        return re.match(_USUALLY_UNUSED + self.family.unused, plain) is not None

    def _found(self, weight: Weight) -> list[str]:
        return [name for name in self.names_of(weight) if name in self.tensors]

    def _tied(self) -> bool:
        """Whether the logits come from the embeddings: as config.json says, unless the tensors say otherwise."""
        declared = bool(self.values.get("tie_word_embeddings", self.family.tied))
        if self.family.kind == "encoder":
            return True
        head = self.tensors.get("lm_head.weight")
        if head is None:
            return declared or self.family.always_tied
        config = configs.from_huggingface(self.values, tied=True)
        table = next(name for w in self.weights(config) if "lm_head.weight" in w.copies for name in self._found(w))
        if table == "lm_head.weight":
            return True
        same = head.shape == self.tensors[table].shape and np.array_equal(head.read(), self.tensors[table].read())
        return same and (declared or self.family.always_tied)

    def _plain(self, name: str) -> str:
        """Drops the prefix of the task models, and turns the names of the first TensorFlow conversions into today's."""
        name = name.removeprefix(self.family.prefix)
        if name.endswith("LayerNorm.gamma"):
            return name.removesuffix("gamma") + "weight"
        return name.removesuffix("beta") + "bias" if name.endswith("LayerNorm.beta") else name
