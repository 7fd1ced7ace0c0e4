"""How a stored array becomes ours, and back: transposed, split, joined, with rows left out."""

import dataclasses
from collections.abc import Sequence

import numpy as np

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Layout:
    """The array is stored as it is here. Base of all others."""

    def stored_shape(self, shapes: Sequence[Shape]) -> Shape:
        """Returns the shape in the file, for the shapes of our variables."""
        return tuple(shapes[0])

    def split(self, value: np.ndarray, shapes: Sequence[Shape]) -> list[np.ndarray]:
        """Returns the values of our variables, of these shapes, for a stored array."""
        return [value]

    def join(self, values: Sequence[np.ndarray]) -> np.ndarray:
        """Returns the array to store, for the values of our variables."""
        return values[0]


@dataclasses.dataclass(frozen=True)
class Transposed(Layout):
    """A matrix that PyTorch's linear layers store as (out, in), and we as (in, out)."""

    def stored_shape(self, shapes: Sequence[Shape]) -> Shape:
        """Returns the reversed shape."""
        return tuple(reversed(shapes[0]))

    def split(self, value: np.ndarray, shapes: Sequence[Shape]) -> list[np.ndarray]:
        """Transposes."""
        return [value.T]

    def join(self, values: Sequence[np.ndarray]) -> np.ndarray:
        """Transposes."""
        return values[0].T


@dataclasses.dataclass(frozen=True)
class SideBySide(Layout):
    """Several of our variables along the last axis of one array, such as queries, keys and values."""

    def stored_shape(self, shapes: Sequence[Shape]) -> Shape:
        """Returns the shape with the sum of all widths last."""
        return (*shapes[0][:-1], sum(shape[-1] for shape in shapes))

    def split(self, value: np.ndarray, shapes: Sequence[Shape]) -> list[np.ndarray]:
        """Cuts between them."""
        return np.split(value, np.cumsum([shape[-1] for shape in shapes])[:-1], axis=-1)

    def join(self, values: Sequence[np.ndarray]) -> np.ndarray:
        """Concatenates them."""
        return np.concatenate(values, axis=-1)


@dataclasses.dataclass(frozen=True)
class UnusedRows(Layout):
    """A table whose first rows no token ever reads; written as zeros.

    Args:
        rows: Number of them.
    """

    rows: int

    def stored_shape(self, shapes: Sequence[Shape]) -> Shape:
        """Returns the shape with the unused rows."""
        return (shapes[0][0] + self.rows, *shapes[0][1:])

    def split(self, value: np.ndarray, shapes: Sequence[Shape]) -> list[np.ndarray]:
        """Leaves them out."""
        return [value[self.rows :]]

    def join(self, values: Sequence[np.ndarray]) -> np.ndarray:
        """Puts zeros in their place."""
        unused = np.zeros((self.rows, *values[0].shape[1:]), values[0].dtype)
        return np.concatenate([unused, values[0]])


@dataclasses.dataclass(frozen=True)
class Reshaped(Layout):
    """One axis is stored as two, such as heads and the width of a head.

    Args:
        axis: Which of our axes.
        parts: Length of the first of the two.
    """

    axis: int
    parts: int

    def stored_shape(self, shapes: Sequence[Shape]) -> Shape:
        """Returns the shape with two axes for one."""
        shape, axis = shapes[0], self.axis % len(shapes[0])
        return (*shape[:axis], self.parts, shape[axis] // self.parts, *shape[axis + 1 :])

    def split(self, value: np.ndarray, shapes: Sequence[Shape]) -> list[np.ndarray]:
        """Makes them one."""
        return [value.reshape(shapes[0])]

    def join(self, values: Sequence[np.ndarray]) -> np.ndarray:
        """Makes two of it."""
        return values[0].reshape(self.stored_shape([values[0].shape]))


@dataclasses.dataclass(frozen=True)
class Zeros(Layout):
    """An array that we have no variable for, so that it must hold zeros only.

    Args:
        shape: Its shape in the file.
    """

    shape: Shape

    def stored_shape(self, shapes: Sequence[Shape]) -> Shape:
        """Returns the shape."""
        return self.shape

    def split(self, value: np.ndarray, shapes: Sequence[Shape]) -> list[np.ndarray]:
        """Returns nothing, for zeros.

        Raises:
            ValueError: For other values.
        """
        if np.any(value):
            raise ValueError(f"only zeros have a counterpart here. Received: values up to {np.abs(value).max()}")
        return []

    def join(self, values: Sequence[np.ndarray]) -> np.ndarray:
        """Returns the zeros."""
        return np.zeros(self.shape, np.float32)


AS_IS = Layout()
TRANSPOSED = Transposed()
SIDE_BY_SIDE = SideBySide()
