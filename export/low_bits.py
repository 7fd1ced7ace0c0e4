"""Quantises weights inside a converted `.tflite` where TensorFlow's converter does not: tables by row, and int4.

The converter gives a table of embeddings one scale for all its rows, and leaves the table of positions in float32.
"""

from typing import Any

import numpy as np

from .tflite_file import Graph

LARGE = 1024
"""Elements from which a constant in float32 is worth a scale; TensorFlow's converter draws the line there, too."""
MIN_ROWS = 16
"""Dense layers with fewer outputs (the head) stay as they are: they weigh nothing and decide everything."""
SHARES = np.linspace(0.5, 1.0, 26)


def quantize_rows(values: np.ndarray, bits: int, search: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Rounds each row of a matrix to integers, with the scale of the row.

    Args:
        values: Float array of shape (rows, dim).
        bits: int, of an integer.
        search: Whether to look for the scale with the least squared error, which cuts off outliers, instead of taking
            the one that fits the largest value. Default False.

    Returns:
        Integers, int8 of shape (rows, dim), and scales, float32 of shape (rows,).

    Example:
        ```python
        import numpy as np
        from keras_transformer.export.low_bits import quantize_rows

        integers, scales = quantize_rows(np.array([[1.0, -7.0], [0.5, 0.0]]), bits=4)
        assert integers.tolist() == [[1, -7], [7, 0]] and scales.tolist() == [1.0, np.float32(0.5 / 7)]
        ```
    """
    limit = 2 ** (bits - 1) - 1
    largest = np.abs(values).max(axis=1, keepdims=True)
    largest = np.where(largest > 0, largest, 1.0)
    best = None
    for share in SHARES if search else (1.0,):
        scales = (largest * share / limit).astype(np.float32)
        integers = np.clip(np.round(values / scales), -limit, limit)
        errors = ((integers * scales - values) ** 2).sum(axis=1, keepdims=True)
        if best is None:
            best = errors, integers, scales
        else:
            better = errors < best[0]
            pairs = zip((errors, integers, scales), best, strict=True)
            best = tuple(np.where(better, new, old) for new, old in pairs)
    return best[1].astype(np.int8), best[2][:, 0].astype(np.float32)


def pack(integers: np.ndarray, bits: int) -> np.ndarray:
    """Returns the bytes of integers: of int4 two a byte, the first in the lower half.

    Args:
        integers: int8 array.
        bits: int, 8 or 4.
    """
    flat = integers.reshape(-1).view(np.uint8)
    if bits == 8:
        return flat
    flat = np.append(flat, np.zeros(len(flat) % 2, np.uint8)) & 15
    return flat[0::2] | flat[1::2] << 4


def quantize_table(graph: Graph, table: np.ndarray, bits: int) -> None:
    """Stores the table of token embeddings with a scale for each row, and reads it with EMBEDDING_LOOKUP.

    Args:
        graph: `Graph` in which the converter has quantised the table, so that GATHER and DEQUANTIZE read it.
        table: The table, float32 of shape (vocabulary_size, dim).
        bits: int, 8 or 4.

    Raises:
        ValueError: If the graph does not read the table in that way.
    """
    place = next((i for i, op in enumerate(graph.operators) if _reads(graph, op, table.shape)), None)
    if place is None:
        raise ValueError(f"No GATHER reads a table of the shape {table.shape}.")
    gather = graph.operators[place]
    after = graph.only_reader(gather.outputs[0], "DEQUANTIZE")
    stored, ids = gather.inputs
    result = after.outputs[0]
    integers, scales = quantize_rows(table, bits, search=bits < 8)
    graph.store(stored, pack(integers, bits), bits, scales, dimension=0)

    # EMBEDDING_LOOKUP takes a list of ids.
    dim = table.shape[1]
    flat = graph.tensor("int32", [-1], "token_ids_in_a_row")
    rows = graph.tensor("float32", [-1, dim], "token_embeddings_in_a_row")
    reading = [
        graph.operator("RESHAPE", [ids, graph.constant(np.array([-1], np.int32))], [flat]),
        graph.operator("EMBEDDING_LOOKUP", [flat, stored], [rows]),
    ]
    batch, length = graph.sizes(ids)
    if batch > 0 or length > 0:
        # One unknown size at most: RESHAPE finds it without an operator at run time.
        target = graph.constant(np.array([batch, length, dim], np.int32))
    else:
        sizes, target = graph.tensor("int32", [2], "sizes_of_token_ids"), graph.tensor("int32", [3], "sizes_of_rows")
        reading.append(graph.operator("SHAPE", [ids], [sizes]))
        width = graph.constant(np.array([dim], np.int32))
        reading.append(graph.operator("CONCATENATION", [sizes, width], [target]))
    reading.append(graph.operator("RESHAPE", [rows, target], [result]))
    graph.replace([gather, after], reading)


def quantize_dense(graph: Graph, bits: int) -> None:
    """Stores the weights of dense layers in fewer bits, with a scale for each output.

    Args:
        graph: `Graph` whose dense layers the converter has quantised to int8, with a scale for each output.
        bits: int, 4.
    """
    done = set()
    for op in graph.operators:
        stored = op.inputs[1] if graph.name_of(op) == "FULLY_CONNECTED" else None
        if stored is None or stored in done or graph.dtype(stored) != "int8" or graph.sizes(stored)[0] < MIN_ROWS:
            continue
        done.add(stored)
        integers, scales = quantize_rows(graph.values(stored), bits, search=True)
        graph.store(stored, pack(integers, bits), bits, scales, dimension=0)


def quantize_constants(graph: Graph) -> None:
    """Stores large constants that the converter left in float32, such as the table of positions, by row in int8.

    DEQUANTIZE of a constant runs once, when the interpreter is made ready.

    Args:
        graph: `Graph`.
    """
    for stored in graph.constants("float32"):
        sizes = graph.sizes(stored)
        if len(sizes) < 2 or np.prod(sizes) < LARGE:
            continue
        # One row for each value of the last axis but one; axes before it have one element.
        if np.prod(sizes[:-2]) != 1:
            continue
        readers = [op for op in graph.operators if stored in op.inputs]
        integers, scales = quantize_rows(graph.values(stored).reshape(sizes[-2:]), bits=8)
        result = graph.tensor("float32", sizes, f"{graph.tensor_name(stored)}_in_float32")
        graph.store(stored, pack(integers, 8), 8, scales, dimension=len(sizes) - 2)
        for op in readers:
            op.inputs = np.where(np.asarray(op.inputs) == stored, result, op.inputs).astype(np.int32)
        graph.insert_before(readers[0], graph.operator("DEQUANTIZE", [stored], [result]))


def _reads(graph: Graph, op: Any, shape: tuple[int, ...]) -> bool:
    return graph.name_of(op) == "GATHER" and tuple(graph.sizes(op.inputs[0])) == tuple(shape)
