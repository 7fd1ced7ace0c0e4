"""The film-disjoint split of the official IMDB training part, as a list of text hashes (see docs/data.md).

The committed file `imdb_manifest.txt` decides; `build` is how it was made, and a test makes it again.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_transformer.data.markup import text_key

PATH = Path(__file__).with_name("imdb_manifest.txt")
CLASS_NAMES = ("neg", "pos")
SIDES = ("validation", "validation_border", "train", "test_border", "test")
TEST_PER_LABEL = 2500
VALIDATION_PER_LABEL = 1250
# The collection has at most 30 reviews of a film (Maas et al. 2011), so two reviews of one film stand less than 30
# places apart. The text says the same: see "How far a film reaches" in docs/data.md.
BORDER = 30
# The archive, and the package made from it, list the numbered reviews in groups of 128, each backwards.
GROUP = 128

_HEADER = """\
# Film-disjoint split of the 25,000 labelled reviews of the official IMDB training part. Made by
# keras_transformer/data/imdb_manifest.py; a line is the first 48 bits of the SHA-256 of a review's letters and digits.
"""


def official_order(size: int) -> np.ndarray:
    """Return the places, in file order, of the reviews of one label by their official number.

    Args:
        size: int, number of reviews of the label.

    Returns:
        int64 array `(size,)`: element i is the place in the file of review number i.

    Example:
        ```python
        from keras_transformer.data.imdb_manifest import official_order

        assert official_order(12500)[:3].tolist() == [127, 126, 125]
        ```
    """
    groups = [np.arange(start, min(start + GROUP, size))[::-1] for start in range(0, size, GROUP)]
    return np.concatenate(groups)


def build(texts: Sequence[str], labels: Sequence[int]) -> dict[tuple[str, str], list[str]]:
    """Make the split: per label validation first, test last, training between, `BORDER` reviews dropped at each border.

    A text that occurs again belongs to test before validation before training, and counts once.

    Args:
        texts: the reviews in file order.
        labels: their labels, 0 or 1.

    Returns:
        `{(side, class name): keys in official order}`.
    """
    labels = np.asarray(labels)
    keys = np.array([text_key(text) for text in texts])
    columns = {}
    for label, name in enumerate(CLASS_NAMES):
        places = np.flatnonzero(labels == label)
        columns[name] = keys[places[official_order(len(places))]].tolist()
    sections, taken = {}, set()
    for side, size, last_first in (("test", TEST_PER_LABEL, True), ("validation", VALIDATION_PER_LABEL, False)):
        for name, column in columns.items():
            chosen: list[str] = []
            while len(chosen) < size:
                key = column.pop(-1 if last_first else 0)
                if key not in taken:
                    taken.add(key)
                    chosen.append(key)
            sections[side, name] = chosen[::-1] if last_first else chosen
    for name, column in columns.items():
        borders = {
            "validation_border": column[:BORDER],
            "train": column[BORDER:-BORDER],
            "test_border": column[-BORDER:],
        }
        sections |= {(side, name): section for side, section in borders.items()}
    for side in ("validation_border", "test_border", "train"):
        for name in CLASS_NAMES:
            fresh = dict.fromkeys(key for key in sections[side, name] if key not in taken)
            sections[side, name] = list(fresh)
            taken.update(fresh)
    return {(side, name): sections[side, name] for side in SIDES for name in CLASS_NAMES}


def write(sections: dict[tuple[str, str], list[str]], path: Path = PATH) -> None:
    """Write the manifest as text, a section for each side and label.

    Args:
        sections: what `build` returns.
        path: the file to write; the committed one by default.
    """
    lines = [_HEADER]
    for (side, name), keys in sections.items():
        lines += [f"[{side} {name} {len(keys)}]\n", *(f"{key}\n" for key in keys)]
    path.write_text("".join(lines), encoding="ascii")


def read(path: Path = PATH) -> dict[str, list[tuple[str, int]]]:
    """Read the manifest.

    Args:
        path: the file; the committed one by default.

    Returns:
        `{side: [(key, label), ...]}` in official order, negative reviews first.

    Raises:
        ValueError: if a section does not hold as many keys as its heading says.
    """
    sides: dict[str, list[tuple[str, int]]] = {side: [] for side in SIDES}
    expected = 0
    for line in path.read_text(encoding="ascii").splitlines():
        if line.startswith("["):
            side, name, size = line.strip("[]").split()
            label, expected = CLASS_NAMES.index(name), expected + int(size)
        elif line and not line.startswith("#"):
            sides[side].append((line, label))
    found = sum(map(len, sides.values()))
    if found != expected:
        raise ValueError(f"{path.name} is damaged: reinstall the package. Received: {found} keys, not {expected}.")
    return sides
