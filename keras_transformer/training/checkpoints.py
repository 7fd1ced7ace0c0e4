"""Checkpoints: one safetensors file each, whole or not there, with everything that a run needs to go on."""

import dataclasses
import json
import logging
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from keras_transformer.training import faults
from keras_transformer.training.files import TEMPORARY, write_atomically

logger = logging.getLogger(__name__)

_NAMES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint64": "U64",
    "uint32": "U32",
    "uint16": "U16",
    "uint8": "U8",
    "bool": "BOOL",
}
_DTYPES = {name: np.dtype(dtype).newbyteorder("<") for dtype, name in _NAMES.items()}
_MAX_HEADER_BYTES = 100_000_000  # the format's own limit


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """The content of one checkpoint.

    Args:
        step: int, steps (batches) done.
        tensors: dict from name to array.
        state: dict of JSON values.
    """

    step: int
    tensors: dict[str, np.ndarray]
    state: dict[str, Any]


class CheckpointStore:
    """A folder of checkpoints that keeps the newest and the best.

    Args:
        folder: `pathlib.Path`; it is made at the first `save`.
        keep: int, how many of the newest are kept beside the best. Default 2.

    Example:

    ```python
    import tempfile
    from pathlib import Path

    import numpy as np
    from keras_transformer.training import CheckpointStore

    store = CheckpointStore(Path(tempfile.mkdtemp()))
    store.save(10, {"w": np.ones(3, "float32")}, {"epoch": 0})
    assert store.load_latest().state == {"epoch": 0}
    ```
    """

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self.folder = Path(folder)
        self.keep = keep

    def path(self, step: int) -> Path:
        """Return the path of the checkpoint of a step."""
        return self.folder / f"step-{step:08d}.safetensors"

    def steps(self) -> list[int]:
        """Return the steps of which there is a checkpoint, oldest first."""
        return sorted(int(path.stem.removeprefix("step-")) for path in self.folder.glob("step-*.safetensors"))

    def save(
        self, step: int, tensors: Mapping[str, np.ndarray], state: Mapping[str, Any], best_step: int | None = None
    ) -> Path:
        """Write a checkpoint, then remove those that are neither among the newest nor the best.

        Args:
            step: int, steps (batches) done.
            tensors: mapping from name to array.
            state: mapping of JSON values.
            best_step: int or None, the step of the best checkpoint, which is kept.

        Returns:
            The path of the file.

        Raises:
            OSError: If it cannot be written; the older checkpoints stay.
        """
        path = self.path(step)
        write_atomically(path, lambda file: _write(file, tensors, {"step": step, "state": state}))
        for old in self.steps()[: -self.keep]:
            if old not in (best_step, step):
                self.path(old).unlink(missing_ok=True)
        for left_over in self.folder.glob(f"{TEMPORARY}*"):
            left_over.unlink(missing_ok=True)
        return path

    def load(self, step: int) -> Checkpoint:
        """Read the checkpoint of a step.

        Raises:
            FileNotFoundError: If there is none.
            ValueError: If the file is truncated or damaged.
        """
        return read_checkpoint(self.path(step))

    def load_latest(self) -> Checkpoint | None:
        """Read the newest checkpoint that is whole; damaged ones are named in the log and passed over.

        Returns:
            The `Checkpoint`, or None if there is none.
        """
        for step in reversed(self.steps()):
            try:
                return self.load(step)
            except ValueError as error:
                logger.warning("%s Going back to the checkpoint before it.", error)
        return None


def read_checkpoint(path: Path) -> Checkpoint:
    """Read one checkpoint file and check every byte of it.

    Args:
        path: `pathlib.Path` of the file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no checkpoint, or is truncated or damaged.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no checkpoint {path}.")
    try:
        with path.open("rb") as file:
            return parse_checkpoint(file, path.stat().st_size)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"The checkpoint {path} is truncated or damaged ({error}).") from error


def parse_checkpoint(file: BinaryIO, size: int) -> Checkpoint:
    """Read a checkpoint from an open file and check every byte of it.

    Args:
        file: binary file, at its beginning.
        size: int, bytes of the file.

    Raises:
        KeyError, TypeError, ValueError: If it is no checkpoint, or is truncated or damaged.
    """
    length = int.from_bytes(file.read(8), "little")
    if length > min(_MAX_HEADER_BYTES, size):
        raise ValueError("its header does not fit the file")
    header = json.loads(file.read(length))
    own = json.loads(header.pop("__metadata__")["keras_transformer"])
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        file.seek(8 + length + begin)
        data = file.read(end - begin)
        if zlib.crc32(data) != own["checksums"][name]:
            raise ValueError(f"the bytes of {name!r} are not those that were written")
        tensors[name] = np.frombuffer(data, _DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return Checkpoint(own["step"], tensors, own["state"])


def _write(file: BinaryIO, tensors: Mapping[str, np.ndarray], own: dict[str, Any]) -> None:
    arrays = {name: np.asarray(value, order="C") for name, value in tensors.items()}
    own = own | {"checksums": {name: zlib.crc32(array.tobytes()) for name, array in arrays.items()}}
    header: dict[str, Any] = {"__metadata__": {"keras_transformer": json.dumps(own)}}
    offset = 0
    for name, array in arrays.items():
        header[name] = {
            "dtype": _NAMES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [offset, offset + array.nbytes],
        }
        offset += array.nbytes
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)  # the data starts on a multiple of 8 bytes
    file.write(len(encoded).to_bytes(8, "little") + encoded)
    for index, array in enumerate(arrays.values()):
        if index == len(arrays) // 2:
            file.flush()
            faults.reach(f"checkpoint:{own['step']}")
        file.write(array.tobytes())
