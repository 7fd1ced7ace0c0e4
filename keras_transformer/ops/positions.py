"""Position schemes; always float32, because bfloat16 cannot tell positions above 256 apart."""

import math

import numpy as np
from keras import ops

ROTARY_SCALINGS = ("none", "linear", "ntk")


def sincos_table(length: int, dim: int, max_wavelength: float = 10000.0) -> np.ndarray:
    """Builds the sine and cosine position table of Vaswani et al. (arXiv 1706.03762, section 3.5).

    Args:
        length: Number of positions.
        dim: Width; columns 2i hold the sine and 2i + 1 the cosine of position / max_wavelength ** (2i / dim).
        max_wavelength: Longest wavelength divided by 2 pi.

    Returns:
        Float32 array of shape (length, dim), computed in float64.
    """
    positions = np.arange(length, dtype=np.float64)[:, np.newaxis]
    columns = np.arange(dim)
    angles = positions / np.power(max_wavelength, (columns - columns % 2) / dim)
    return np.where(columns % 2 == 0, np.sin(angles), np.cos(angles)).astype(np.float32)


def rotary_frequencies(dim: int, theta: float = 10000.0, scaling: str = "none", factor: float = 1.0) -> np.ndarray:
    """Returns the angle per position of each pair of features (Su et al., arXiv 2104.09864).

    Args:
        dim: Number of rotated features, even.
        theta: Base of the frequencies.
        scaling: "none"; "linear" divides positions by `factor` (Chen et al., arXiv 2306.15595); "ntk" raises theta so
            that the lowest frequency is divided by `factor` and the highest stays (Peng et al., arXiv 2309.00071, 3.1).
        factor: How many times longer the texts become, at least 1.

    Returns:
        Float32 array of shape (dim / 2,), computed in float64.

    Raises:
        ValueError: For an odd width, an unknown scaling or a factor below 1.
    """
    if dim < 2 or dim % 2:
        raise ValueError(f"Rotary positions need an even number of features. Received: dim={dim!r}")
    if scaling not in ROTARY_SCALINGS:
        raise ValueError(f"scaling must be one of {', '.join(ROTARY_SCALINGS)}. Received: {scaling!r}")
    if not factor >= 1:
        raise ValueError(f"factor must be at least 1. Received: {factor!r}")
    if scaling == "ntk" and dim > 2:
        theta = theta * factor ** (dim / (dim - 2))
    frequencies = theta ** (-np.arange(0, dim, 2, dtype=np.float64) / dim)
    return (frequencies / factor if scaling == "linear" else frequencies).astype(np.float32)


def rotation(position_ids, frequencies):
    """Computes what `rotate` needs, once for all blocks.

    Args:
        position_ids: Integer tensor of shape (batch, length); a batch of 1 serves every row.
        frequencies: Result of `rotary_frequencies`, shape (dim / 2,).

    Returns:
        Float32 tensor of shape (batch, 1, length, dim): cosines, then sines, of each angle.
    """
    angles = ops.expand_dims(ops.cast(position_ids, "float32"), -1) * ops.convert_to_tensor(frequencies, "float32")
    return ops.expand_dims(ops.concatenate([ops.cos(angles), ops.sin(angles)], -1), 1)


def rotate(x, rotation):
    """Turns pairs of features by the angle of their position; feature i is paired with i + dim / 2.

    Args:
        x: Float tensor of shape (batch, heads, length, head_dim): queries or keys.
        rotation: Result of `rotation` for the same positions; features beyond its width stay as they are.

    Returns:
        Tensor of the shape and dtype of `x`; the arithmetic is float32.

    Raises:
        ValueError: If the heads are narrower than the rotation.
    """
    width = rotation.shape[-1]
    if x.shape[-1] < width:
        raise ValueError(f"{width} features cannot be rotated. Received: x of shape {tuple(x.shape)}")
    cos, sin = rotation[..., : width // 2], rotation[..., width // 2 :]
    wide = ops.cast(x, "float32")
    first, second = wide[..., : width // 2], wide[..., width // 2 : width]
    parts = [first * cos - second * sin, second * cos + first * sin]
    if x.shape[-1] > width:
        parts.append(wide[..., width:])
    return ops.cast(ops.concatenate(parts, -1), x.dtype)


def relative_positions(query_positions, key_positions):
    """Returns the position of each key seen from each query.

    Args:
        query_positions: Integer tensor of shape (batch, query_length); a batch of 1 serves every row.
        key_positions: Integer tensor of shape (batch, key_length).

    Returns:
        Int32 tensor of shape (batch, query_length, key_length): key position minus query position.
    """
    keys, queries = ops.cast(key_positions, "int32"), ops.cast(query_positions, "int32")
    return ops.expand_dims(keys, 1) - ops.expand_dims(queries, 2)


def relative_buckets(relative, bidirectional: bool, num_buckets: int = 32, max_distance: int = 128):
    """Maps distances to T5's buckets: one each for small ones, logarithmic for larger (Raffel et al., 1910.10683).

    Args:
        relative: Integer tensor of any shape, from `relative_positions`.
        bidirectional: Whether keys after the query have half of the buckets; else they share bucket 0.
        num_buckets: Number of buckets.
        max_distance: Distance from which on all share the last bucket.

    Returns:
        Int32 tensor of the shape of `relative`, in [0, num_buckets).

    Raises:
        ValueError: For too few buckets, or a distance that they already reach one by one.
    """
    one_side = num_buckets // 2 if bidirectional else num_buckets
    exact = one_side // 2
    if exact < 1 or max_distance <= exact:
        raise ValueError(
            "num_buckets must be at least 2 (4 if bidirectional), and max_distance above half of one side's buckets. "
            f"Received: num_buckets={num_buckets}, max_distance={max_distance}, bidirectional={bidirectional}"
        )
    # A table of all distances that differ: exact integers at run time. float32 as in the published models, which
    # decides the side of a border.
    distance = np.arange(max_distance + 1, dtype=np.float32)
    logarithms = np.log(np.maximum(distance, 1) / np.float32(exact)) / np.float32(math.log(max_distance / exact))
    large = exact + (logarithms * np.float32(one_side - exact)).astype(np.int32)
    table = np.where(distance < exact, distance, np.minimum(large, one_side - 1)).astype(np.int32)
    behind = ops.abs(relative) if bidirectional else ops.maximum(-relative, 0)
    buckets = ops.take(ops.convert_to_tensor(table), ops.minimum(behind, max_distance), axis=0)
    return buckets + ops.cast(relative > 0, "int32") * one_side if bidirectional else buckets


def alibi_slopes(num_heads: int) -> np.ndarray:
    """Returns the slope of each head (Press et al., arXiv 2108.12409): powers of 2 ** (-8 / num_heads).

    For a number of heads that is no power of two: those of the next smaller power, then every other one of the next
    larger power.

    Args:
        num_heads: Number of heads.

    Returns:
        Float32 array of shape (num_heads,).
    """
    lower = 2 ** math.floor(math.log2(num_heads))
    slopes = [2.0 ** (-8 * (i + 1) / lower) for i in range(lower)]
    slopes += [2.0 ** (-8 * (i + 1) / (2 * lower)) for i in range(0, 2 * (num_heads - lower), 2)]
    return np.array(slopes, np.float32)


def alibi_bias(relative, slopes):
    """Computes a penalty that grows with the distance; the same to both sides, which a causal mask does not show.

    Args:
        relative: Integer tensor of shape (batch, query_length, key_length), from `relative_positions`.
        slopes: Float array of shape (heads,), from `alibi_slopes`.

    Returns:
        Float32 tensor of shape (batch, heads, query_length, key_length).
    """
    distance = ops.expand_dims(ops.cast(ops.abs(relative), "float32"), 1)
    return distance * ops.reshape(-ops.convert_to_tensor(slopes, "float32"), (1, -1, 1, 1))


def relative_scores(q, table, index):
    """Computes the part of the scores that depends on query and distance (Shaw et al., arXiv 1803.02155).

    Args:
        q: Float tensor of shape (batch, heads, query_length, head_dim).
        table: Float tensor of shape (distances, head_dim): a key for each distance.
        index: Int32 tensor of shape (1 or batch, query_length, key_length): the row of `table` for each pair.

    Returns:
        Float tensor of shape (batch, heads, query_length, key_length), not yet scaled.
    """
    by_distance = ops.matmul(q, ops.transpose(ops.cast(table, q.dtype)))
    index = ops.expand_dims(index, 1)
    shape = ops.shape(by_distance)
    index = ops.broadcast_to(index, (shape[0], shape[1], shape[2], ops.shape(index)[3]))
    return ops.take_along_axis(by_distance, index, axis=-1)
