"""Position schemes as tables; always float32, because bfloat16 cannot tell positions above 256 apart."""

import numpy as np


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
