"""The precisions of artefacts: what each stores and computes, and how far from Keras it may be."""

import dataclasses
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Precision:
    """How weights are stored, and what that may cost.

    Args:
        name: str, as it is chosen, and the ending of the file's name.
        summary: str, what is stored and computed, for people.
        deviation: float, largest mean difference of the logits from Keras, as a share of how much the logits of
            different texts differ from their mean. 0 for none: then a tolerance of single values counts.
        accuracy_loss: float, largest loss of accuracy on held-out texts, in points, beyond what chance explains.
        table_bits: int, of each weight in the table of token embeddings; 0 leaves it to TensorFlow.
        weight_bits: int, of each weight in dense layers; 0 leaves them to TensorFlow.
        served: float, largest absolute difference between what is served and what follows from the logits of the same
            call: a softmax in int8 has 256 steps.
        needs_examples: bool, whether the ranges of the activations must be measured, and the accuracy with them.
    """

    name: str
    summary: str
    deviation: float = 0.0
    accuracy_loss: float = 0.0
    table_bits: int = 0
    weight_bits: int = 0
    served: float = 1e-4
    needs_examples: bool = False

    @property
    def ending(self) -> str:
        """What the names of its files end in."""
        return "" if self.name == "float32" else f"_{self.name}"


PRECISIONS = {
    precision.name: precision
    for precision in (
        Precision("float32", "weights and activations in float32"),
        Precision("float16", "weights in float16, computed in float32", 0.01, 0.05),
        Precision("int8", "weights in int8, activations quantised as they come", 0.1, 0.3),
        Precision("int4_table", "as int8, the table of token embeddings in int4", 0.15, 0.5, table_bits=4),
        Precision("int4", "weights and table in int4, activations in int8", 0.4, 1.0, table_bits=4, weight_bits=4),
        Precision(
            "full_int8",
            "weights and activations in int8, with measured ranges",
            0.4,
            0.5,
            served=0.05,
            needs_examples=True,
        ),
    )
}
"""Name -> `Precision` of files, the largest file first."""

SAVED_MODEL = {
    "float32": PRECISIONS["float32"],
    "bfloat16": Precision(
        "bfloat16",
        "weights and activations in bfloat16; statistics of norms, softmax and head in float32",
        0.05,
        0.1,
    ),
}
"""Name -> `Precision` of a SavedModel."""


def choose(names: Sequence[str] | str) -> list[Precision]:
    """Returns precisions by name, each once, in the order in which they are asked for.

    Args:
        names: Names, or one.

    Raises:
        ValueError: For an unknown name, or none at all.

    Example:
        ```python
        from keras_transformer.export.precision import choose

        assert [precision.ending for precision in choose(["float32", "int8"])] == ["", "_int8"]
        ```
    """
    names = [names] if isinstance(names, str) else list(names)
    if not names or any(name not in PRECISIONS for name in names):
        raise ValueError(f"precisions must be some of {', '.join(PRECISIONS)}. Received: {names!r}")
    return [PRECISIONS[name] for name in dict.fromkeys(names)]
