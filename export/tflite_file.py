"""Reads `.tflite` files into objects that can be changed, and writes them, every buffer on a boundary of 16 bytes."""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

ALIGNMENT = 16
"""Of weights, as the schema of TFLite demands it (`force_align: 16`)."""
_DTYPES = {"float32": "FLOAT32", "int32": "INT32", "int8": "INT8", "int4": "INT4"}


def schema() -> Any:
    """Returns the module that flatbuffers generated from the schema of TFLite.

    Raises:
        ImportError: If ai-edge-litert is not installed.
    """
    try:
        from ai_edge_litert import schema_py_generated
    except ImportError as error:
        raise ImportError(
            ".tflite files are written and verified with LiteRT, which is missing. Run: pip install ai-edge-litert"
        ) from error
    return schema_py_generated


def read_model(path: str | pathlib.Path) -> Any:
    """Reads a `.tflite` file.

    Args:
        path: str or path of the file.

    Returns:
        `ModelT` of the schema; its buffers hold NumPy arrays of bytes.

    Raises:
        ValueError: If the file is not a TFLite model.
    """
    return schema().ModelT.InitFromObj(schema().Model.GetRootAs(read_bytes(path), 0))


def read_bytes(path: str | pathlib.Path) -> bytes:
    """Returns the bytes of a `.tflite` file.

    Raises:
        ValueError: If the file is not a TFLite model.
    """
    data = pathlib.Path(path).read_bytes()
    if len(data) < 8 or data[4:8] != b"TFL3":
        raise ValueError(f"{path} is not a TFLite model: it lacks the mark TFL3. Received: {len(data)} bytes")
    return data


def write_model(model: Any, path: str | pathlib.Path) -> None:
    """Writes a model; the same model gives the same bytes.

    Args:
        model: `ModelT`, as `read_model` returns it.
        path: str or path of the file.

    Raises:
        OSError: If the file cannot be written.
    """
    import flatbuffers

    size = sum(0 if buffer.data is None else len(buffer.data) + 64 for buffer in model.buffers)
    builder = flatbuffers.Builder(size + 2**20)
    for buffer in model.buffers:
        if buffer.data is not None:
            buffer.Pack = _Packer(buffer.data)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    for buffer in model.buffers:
        vars(buffer).pop("Pack", None)
    pathlib.Path(path).write_bytes(builder.Output())


class _Packer:
    """Packs the bytes of one buffer; the generated code would align them like any vector of bytes."""

    def __init__(self, data: np.ndarray):
        self.data = np.ascontiguousarray(data, np.uint8)

    def __call__(self, builder: Any) -> int:
        builder.Prep(ALIGNMENT, len(self.data))
        vector = builder.CreateNumpyVector(self.data)
        schema().BufferStart(builder)
        schema().BufferAddData(builder, vector)
        return schema().BufferEnd(builder)


def constant_buffer(model: Any, data: bytes) -> int:
    """Adds bytes to a model and returns the number of their buffer."""
    buffer = schema().BufferT()
    buffer.data = np.frombuffer(data, np.uint8)
    model.buffers.append(buffer)
    return len(model.buffers) - 1


class Graph:
    """The one graph of a model, with names instead of numbers; what is changed here is changed in the model.

    Args:
        model: `ModelT`.

    Raises:
        ValueError: If the model has several graphs.
    """

    def __init__(self, model: Any):
        if len(model.subgraphs) != 1:
            raise ValueError(f"The model must have one graph. Received: {len(model.subgraphs)}")
        self.model = model
        self.graph = model.subgraphs[0]
        self._names = {code: name for name, code in vars(schema().BuiltinOperator).items() if name[0] != "_"}
        self._dtypes = {getattr(schema().TensorType, theirs): ours for ours, theirs in _DTYPES.items()}

    @property
    def operators(self) -> list:
        """The operators in the order in which they run."""
        return self.graph.operators

    def name_of(self, op: Any) -> str:
        """Returns the name of an operator, such as "GATHER"."""
        code = self.model.operatorCodes[op.opcodeIndex]
        return self._names[max(code.builtinCode, code.deprecatedBuiltinCode)]

    def sizes(self, tensor: int) -> list[int]:
        """Returns the shape of a tensor, -1 where it is open."""
        of = self.graph.tensors[tensor]
        sizes = of.shape if of.shapeSignature is None or not len(of.shapeSignature) else of.shapeSignature
        return [] if sizes is None else [int(size) for size in sizes]

    def dtype(self, tensor: int) -> str | None:
        """Returns "float32", "int32", "int8" or "int4", or None for any other."""
        return self._dtypes.get(self.graph.tensors[tensor].type)

    def tensor_name(self, tensor: int) -> str:
        """Returns the name of a tensor."""
        return self.graph.tensors[tensor].name.decode()

    def values(self, tensor: int) -> np.ndarray:
        """Returns a constant, float32; one of int8 multiplied by its scales."""
        of = self.graph.tensors[tensor]
        dtype = np.int8 if self.dtype(tensor) == "int8" else np.float32
        values = np.frombuffer(self.model.buffers[of.buffer].data.tobytes(), dtype).reshape(self.sizes(tensor))
        if dtype is np.float32:
            return values
        shape = [1] * values.ndim
        shape[of.quantization.quantizedDimension] = -1
        return values.astype(np.float32) * np.asarray(of.quantization.scale, np.float32).reshape(shape)

    def constants(self, dtype: str) -> list[int]:
        """Returns the constants of a dtype that operators read."""
        read = sorted({int(tensor) for op in self.operators for tensor in op.inputs if tensor >= 0})
        return [i for i in read if self.dtype(i) == dtype and self._data(i) is not None]

    def only_reader(self, tensor: int, name: str) -> Any:
        """Returns the one operator that reads a tensor.

        Raises:
            ValueError: If there are several, or it is of another name.
        """
        readers = [op for op in self.operators if tensor in op.inputs]
        names = [self.name_of(op) for op in readers]
        if names != [name]:
            raise ValueError(f"{self.tensor_name(tensor)} should be read by one {name}. Received: {names}")
        return readers[0]

    def store(self, tensor: int, data: np.ndarray, bits: int, scales: np.ndarray, dimension: int) -> None:
        """Gives a constant other bytes, with a scale for each place along a dimension."""
        of = self.graph.tensors[tensor]
        self.model.buffers[of.buffer].data = data
        of.type = getattr(schema().TensorType, _DTYPES[f"int{bits}"])
        of.quantization = schema().QuantizationParametersT()
        of.quantization.scale = scales
        of.quantization.zeroPoint = np.zeros(len(scales), np.int64)
        of.quantization.quantizedDimension = dimension

    def constant(self, values: np.ndarray) -> int:
        """Adds a constant, int32 or float32, and returns its number."""
        number = constant_buffer(self.model, np.ascontiguousarray(values).tobytes())
        tensor = self.tensor(str(values.dtype), values.shape, f"constant_{len(self.graph.tensors)}")
        self.graph.tensors[tensor].buffer = number
        return tensor

    def tensor(self, dtype: str, sizes: Sequence[int], name: str) -> int:
        """Adds a tensor, -1 where a size is open, and returns its number."""
        new = schema().TensorT()
        new.name = name
        new.type = getattr(schema().TensorType, _DTYPES[dtype])
        new.shape = np.array([max(size, 1) for size in sizes], np.int32)
        if any(size < 0 for size in sizes):
            new.shapeSignature = np.array(sizes, np.int32)
        new.buffer = 0
        new.hasRank = True
        self.graph.tensors.append(new)
        return len(self.graph.tensors) - 1

    def operator(self, name: str, inputs: Sequence[int], outputs: Sequence[int]) -> Any:
        """Returns a new operator, which is not in the graph yet."""
        op = schema().OperatorT()
        op.opcodeIndex = self._code(name)
        op.inputs, op.outputs = np.array(inputs, np.int32), np.array(outputs, np.int32)
        options = {"CONCATENATION": "ConcatenationOptions", "SHAPE": "ShapeOptions"}.get(name)
        if options:
            op.builtinOptionsType = getattr(schema().BuiltinOptions, options)
            op.builtinOptions = getattr(schema(), f"{options}T")()
            if name == "SHAPE":
                op.builtinOptions.outType = schema().TensorType.INT32
        return op

    def replace(self, old: list, new: list) -> None:
        """Puts new operators into the place of old ones, which need not be neighbours."""
        place = next(i for i, op in enumerate(self.operators) if op is old[0])
        kept = [op for op in self.operators if not any(op is one for one in old)]
        self.graph.operators = kept[:place] + new + kept[place:]

    def insert_before(self, old: Any, new: Any) -> None:
        """Puts a new operator before an old one."""
        place = next(i for i, op in enumerate(self.operators) if op is old)
        self.graph.operators = [*self.operators[:place], new, *self.operators[place:]]

    def _data(self, tensor: int) -> np.ndarray | None:
        return self.model.buffers[self.graph.tensors[tensor].buffer].data

    def _code(self, name: str) -> int:
        number = getattr(schema().BuiltinOperator, name)
        for i, code in enumerate(self.model.operatorCodes):
            if max(code.builtinCode, code.deprecatedBuiltinCode) == number:
                return i
        code = schema().OperatorCodeT()
        code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, 127), 1
        self.model.operatorCodes.append(code)
        return len(self.model.operatorCodes) - 1
