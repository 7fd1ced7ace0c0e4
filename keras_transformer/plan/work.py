"""What a forward pass consists of: matrix products, passes over values, and what stays in memory for the gradient."""

import dataclasses
from collections.abc import Iterable

FLOAT = 4
"""Bytes of a float32 value."""
LOW = 2
"""Bytes of a bfloat16 value."""


@dataclasses.dataclass(frozen=True)
class Product:
    """So many products of a matrix of shape (rows, inner) by one of shape (inner, columns).

    Args:
        count: Number of products.
        rows: Rows of the first factor and of the result.
        inner: Columns of the first factor, rows of the second.
        columns: Columns of the second factor and of the result.

    Example:
        ```python
        from keras_transformer.plan.work import Product

        assert Product(2, 3, 4, 5).flops == 2 * 2 * 3 * 4 * 5
        ```
    """

    count: int
    rows: int
    inner: int
    columns: int

    @property
    def flops(self) -> int:
        """Multiplications and additions."""
        return 2 * self.count * self.rows * self.inner * self.columns

    @property
    def values(self) -> int:
        """Values that are read and written."""
        return self.count * (self.rows * self.inner + self.inner * self.columns + self.rows * self.columns)

    def gradients(self) -> tuple["Product", "Product"]:
        """Returns the products that give the gradients of the two factors."""
        return (
            Product(self.count, self.rows, self.columns, self.inner),
            Product(self.count, self.inner, self.rows, self.columns),
        )


@dataclasses.dataclass(frozen=True)
class Pass:
    """One pass over values, between products.

    Args:
        kind: A key of `machine.PASSES`.
        values: Number of values of the result.
        low: Whether the values are in the dtype of the products, which may be bfloat16; else float32.
        gradient: Whether there is a pass backwards, too.
    """

    kind: str
    values: int
    low: bool = False
    gradient: bool = True


@dataclasses.dataclass(frozen=True)
class Kept:
    """Values that stay in memory until the backward pass has used them.

    Args:
        what: Name, for people.
        values: Number of values.
        low: Whether they are in the dtype of the products, which may be bfloat16; else float32.
        copy: Whether there is no such thing where products are float32: a copy in another dtype.
    """

    what: str
    values: int
    low: bool = False
    copy: bool = False

    def bytes(self, product_bytes: int) -> int:
        """Returns the bytes, given those of a value in the dtype of the products."""
        if self.copy and product_bytes == FLOAT:
            return 0
        return self.values * (product_bytes if self.low else FLOAT)


@dataclasses.dataclass(frozen=True)
class Work:
    """The forward work of a part of a model.

    Args:
        products: Matrix products.
        passes: Passes over values.
        kept: What stays in memory for the gradient.
        transient: What the backward pass needs besides for a moment, for each of its moments.
    """

    products: tuple[Product, ...] = ()
    passes: tuple[Pass, ...] = ()
    kept: tuple[Kept, ...] = ()
    transient: tuple[tuple[Kept, ...], ...] = ()

    @property
    def flops(self) -> int:
        """Multiplications and additions of the products, which are all but a percent of all there are."""
        return sum(product.flops for product in self.products)

    @classmethod
    def sum(cls, parts: Iterable["Work"]) -> "Work":
        """Returns the work of several parts, one after the other."""
        parts = list(parts)
        return cls(
            tuple(product for part in parts for product in part.products),
            tuple(one for part in parts for one in part.passes),
            tuple(kept for part in parts for kept in part.kept),
            tuple(moment for part in parts for moment in part.transient),
        )

    def kept_bytes(self, product_bytes: int) -> int:
        """Returns the bytes that stay for the gradient."""
        return sum(kept.bytes(product_bytes) for kept in self.kept)

    def transient_bytes(self, product_bytes: int) -> int:
        """Returns the bytes that the backward pass needs besides, at the moment when that is most."""
        return max((sum(kept.bytes(product_bytes) for kept in moment) for moment in self.transient), default=0)


@dataclasses.dataclass(frozen=True)
class Stage:
    """A part of a model that is applied once or several times in a row.

    Args:
        name: "embeddings", "encoder blocks", ...
        work: Forward work of one application.
        times: Number of applications.
        boundary: Values of its input, which `recompute` keeps; 0 for a part that is never computed twice.
        sublayers: Number of attentions and feed-forward networks in one application.
    """

    name: str
    work: Work
    times: int = 1
    boundary: int = 0
    sublayers: int = 0
