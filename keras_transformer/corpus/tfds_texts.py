"""Texts of data sets of the TensorFlow Datasets catalogue, streamed."""

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from keras_transformer.corpus.counts import Counts
from keras_transformer.data.tfds_source import prepared_builder, text_feature_of

Part = Callable[[Counts], Iterator[tuple[str, str]]]
"""Reads a part of a corpus: texts, and where each comes from."""


def tfds_parts(
    name: str, data_dir: Path | None, download: bool, splits: Sequence[str], text_column: str
) -> tuple[str, str, list[Part]]:
    """Look for a data set.

    Args:
        name: str, as in `tfds.load`.
        data_dir: the folder in which TFDS keeps what it prepares; None for its own.
        download: bool, whether to download and prepare it if it is not there.
        splits: names of splits.
        text_column: str, the feature with the text; where there is none of the name "text", the only text feature.

    Returns:
        What the data set is called, what changes with it, and a part for each split.

    Raises:
        ValueError: if it has no such split or feature.
    """
    tfds, builder = prepared_builder(name, data_dir, download)
    info = builder.info
    feature = text_feature_of(tfds, info, text_column if text_column in info.features else None)
    if feature is None or (text_column not in info.features and text_column != "text"):
        raise ValueError(
            f"{name}: pass text_column= with the name of a feature. Received: {text_column!r}; the features are "
            f"{list(info.features)}."
        )
    if not splits or set(splits) - set(info.splits):
        raise ValueError(f"{name} has the splits {sorted(info.splits)}. Received: splits={list(splits)}.")
    facts = f"{info.full_name} {[(split, info.splits[split].num_examples) for split in splits]} {feature}"
    parts = [functools.partial(_texts, tfds, builder, split, feature) for split in splits]
    return f"TFDS {info.full_name}", facts, parts


def _texts(tfds: Any, builder: Any, split: str, feature: str, _: Counts) -> Iterator[tuple[Any, str]]:
    for index, row in enumerate(tfds.as_numpy(builder.as_dataset(split, shuffle_files=False))):
        content = row[feature]
        yield content.decode("utf-8", "surrogateescape") if isinstance(content, bytes) else content, f"{split}/{index}"
