"""Reads safetensors checkpoints, whole or in shards, in single or half precision."""

import dataclasses
import json
from pathlib import Path

import keras  # noqa: F401  (registers bfloat16 with NumPy, which safetensors needs in order to read it)
import numpy as np
from safetensors import SafetensorError, safe_open

_FLOATING = ("F64", "F32", "F16", "BF16")
_INDEX = "model.safetensors.index.json"


@dataclasses.dataclass(frozen=True)
class StoredTensor:
    """One tensor of a safetensors file; its values stay on disk until `read`.

    Args:
        name: Name in the file.
        path: The file.
        dtype: The format's own name, such as `"F32"` or `"BF16"`.
        shape: Shape as stored.
    """

    name: str
    path: Path
    dtype: str
    shape: tuple[int, ...]

    def read(self) -> np.ndarray:
        """Returns the values as a float32 array of shape `shape`.

        Raises:
            ValueError: If the tensor is not floating point (integers, or quantized weights).
        """
        if self.dtype not in _FLOATING:
            raise ValueError(
                f"Tensor {self.name!r} in {self.path} cannot be a weight: only {', '.join(_FLOATING)} are loaded, "
                f"quantized checkpoints are not. Received: dtype {self.dtype}"
            )
        with safe_open(self.path, framework="numpy") as file:
            return file.get_tensor(self.name).astype(np.float32)


def open_checkpoint(folder: Path) -> dict[str, StoredTensor]:
    """Lists the tensors of `model.safetensors`, or of the shards that `model.safetensors.index.json` names.

    Args:
        folder: A Hugging Face folder.

    Returns:
        Dict from tensor name to `StoredTensor`.

    Raises:
        FileNotFoundError: If there is no safetensors file, or the index names one that is missing.
        ValueError: If a file is truncated or damaged, or lacks a tensor that the index promises.
    """
    if (folder / "model.safetensors").is_file():
        return _open_file(folder / "model.safetensors")
    if not (folder / _INDEX).is_file():
        raise FileNotFoundError(f"The folder has neither model.safetensors nor {_INDEX}. Received: {folder}")
    index = read_json(folder / _INDEX)
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ValueError(f"{folder / _INDEX} has no 'weight_map', which names the file of each tensor.")
    tensors: dict[str, StoredTensor] = {}
    for shard in sorted(set(weight_map.values())):
        path = folder / shard
        if Path(shard).name != shard:
            raise ValueError(f"{folder / _INDEX} names a file outside its folder. Received: {shard!r}")
        if not path.is_file():
            raise FileNotFoundError(f"{folder / _INDEX} names the file {shard!r}, which is not in the folder.")
        tensors |= _open_file(path)
    for name, shard in weight_map.items():
        if name not in tensors:
            raise ValueError(f"{folder / _INDEX} says that {shard!r} holds the tensor {name!r}, but it does not.")
    return tensors


def _open_file(path: Path) -> dict[str, StoredTensor]:
    with path.open("rb") as file:
        if file.read(8) == b"version ":
            raise ValueError(f"{path} is a Git LFS pointer, not the weights themselves; run `git lfs pull` there.")
    tensors = {}
    try:
        with safe_open(path, framework="numpy") as file:
            for name in file.keys():
                part = file.get_slice(name)
                tensors[name] = StoredTensor(name, path, part.get_dtype(), tuple(part.get_shape()))
    except SafetensorError as error:
        raise ValueError(
            f"{path} ({path.stat().st_size} bytes) is truncated, damaged or no safetensors file ({error}). "
            f"Download or copy it again."
        ) from error
    return tensors


def read_json(path: Path) -> dict:
    """Reads a JSON file whose top level is an object.

    Args:
        path: The file.

    Returns:
        The object as a dict.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not JSON, or not an object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not valid JSON ({error}).") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} must hold a JSON object. Received: {type(value).__name__}")
    return value
