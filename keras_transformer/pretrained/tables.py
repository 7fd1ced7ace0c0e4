"""Tables of weights: a row for each layer of ours, which becomes tensors of a Hugging Face folder or a preset."""

import dataclasses
import re
from typing import Any

from keras_transformer.models import EncoderDecoderConfig, TransformerConfig
from keras_transformer.pretrained.layouts import AS_IS, TRANSPOSED, Layout, Reshaped

Config = TransformerConfig | EncoderDecoderConfig

# keras-nlp keeps the heads of these four projections on an axis of their own.
_HEADS = re.compile(r"/_(self|cross)_attention_layer/(query|key|value|output)_dense$")
_TORCH_NAMES = {"kernel": "weight", "gamma": "weight", "table": "weight", "bias": "bias", "beta": "bias"}


@dataclasses.dataclass(frozen=True)
class Row:
    """A layer or a table of ours, and where others keep it.

    Args:
        ours: Path from the model, such as "blocks.0.attention.query" or "positions.table"; several paths, separated by
            spaces, where one tensor holds them side by side; "" for a tensor that we have no place for.
        theirs: Name in a Hugging Face folder without `.weight`; "" where it has none.
        preset: Layer and sublayers in a keras-nlp preset; "" where it has none.
        layout: How Hugging Face stores it; None means transposed for kernels, and as it is for everything else.
        copies: Other names in a Hugging Face folder under which the same tensor may be stored.
        needed: Whether a folder must hold it, and it is written.
    """

    ours: str
    theirs: str
    preset: str = ""
    layout: Layout | None = None
    copies: tuple[str, ...] = ()
    needed: bool = True


@dataclasses.dataclass(frozen=True)
class Weight:
    """A stored tensor and the variables of ours that it holds.

    Args:
        ours: Paths of the variables from the model.
        theirs: Name of the tensor.
        layout: How one becomes the other.
        copies: Other names of the same tensor.
        needed: Whether a folder must hold it, and it is written.
    """

    ours: tuple[str, ...]
    theirs: str
    layout: Layout = AS_IS
    copies: tuple[str, ...] = ()
    needed: bool = True


def huggingface_weights(rows: list[Row], config: Config) -> list[Weight]:
    """Returns the tensors of a Hugging Face folder for the rows of a table."""
    weights = []
    for row in rows:
        if not row.theirs:
            continue
        if not row.ours:
            weights.append(Weight((), row.theirs, row.layout, row.copies, row.needed))
            continue
        for part in _parts(row.ours, config):
            ending = _TORCH_NAMES[part]
            weights.append(
                Weight(
                    _variables(row.ours, part),
                    f"{row.theirs}.{ending}",
                    row.layout or (TRANSPOSED if part == "kernel" else AS_IS),
                    tuple(f"{copy}.{ending}" for copy in row.copies),
                )
            )
    return weights


def preset_weights(rows: list[Row], config: Config) -> list[Weight]:
    """Returns the arrays of a keras-nlp preset for the rows of a table."""
    weights = []
    for row in rows:
        if not row.preset or not row.ours:
            continue
        split = _HEADS.search(row.preset)
        for i, part in enumerate(_parts(row.ours, config)):
            layout = AS_IS
            if split is not None:
                attention = side_of(row.ours, config).attention
                shared = split[2] in ("key", "value") and attention.num_key_value_heads
                layout = Reshaped(0 if split[2] == "output" else -1, shared or attention.num_heads)
                if split[2] == "output" and part == "bias":
                    layout = AS_IS
            name = row.preset if row.preset[-2:-1] == "/" else f"{row.preset}/{i}"
            weights.append(Weight(_variables(row.ours, part), name, layout))
    return weights


def side_of(path: str, config: Config) -> TransformerConfig:
    """Returns the config of the encoder or the decoder that a path from the model leads into."""
    return getattr(config, path.split(".")[0]) if isinstance(config, EncoderDecoderConfig) else config


def variable_at(model: Any, path: str) -> Any:
    """Returns the variable of a model at a path such as `blocks.0.attention.query.kernel`."""
    node = model
    for part in path.split("."):
        node = node[int(part)] if part.isdigit() else getattr(node, part)
    return node


def _variables(ours: str, part: str) -> tuple[str, ...]:
    return tuple(path if part == "table" else f"{path}.{part}" for path in ours.split())


def _parts(ours: str, config: Config) -> tuple[str, ...]:
    """Returns the names of the variables of a layer."""
    path = ours.split()[0]
    side = side_of(path, config)
    if path.endswith("table"):
        return ("table",)
    if path.endswith("norm"):
        return ("gamma", "beta") if side.norm.kind == "layer_norm" else ("gamma",)
    if "attention." in path:
        biased = side.attention.use_bias
    elif "feed_forward." in path:
        biased = side.feed_forward.use_bias
    else:
        biased = not path.endswith("head")
    return ("kernel", "bias") if biased else ("kernel",)
