"""Readers of folders: a file per text in a folder per class (as aclImdb), or tables named for their parts."""

from pathlib import Path
from typing import Any

from keras_transformer.data.part import Part, read_text
from keras_transformer.data.tables import SUFFIXES, read_table

_PART_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}
# The unlabelled reviews of aclImdb.
_NOT_A_CLASS = "unsup"


def read_folder(path: Path, **table_options: Any) -> dict[str, Part]:
    """Read a folder.

    Args:
        path: a folder with `train/CLASS/*.txt` and, if there are any, `validation/CLASS/*.txt` and `test/CLASS/*.txt`;
            or `CLASS/*.txt` alone; or `train.csv` (.tsv, .jsonl) and its like. A folder `unsup` is not read.
        **table_options: for tables, see `read_table`.

    Returns:
        `{"train", "validation", "test"}` as far as there are any, or `{"all"}`.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if it has another layout, or a class has no file.
    """
    if not path.is_dir():
        raise FileNotFoundError(f"No such folder: give the path of a data folder. Received: {str(path)!r}.")
    tables = [file for file in sorted(path.iterdir()) if file.suffix in SUFFIXES and file.stem in _PART_NAMES]
    if tables:
        parts = {_PART_NAMES[file.stem]: read_table(file, **table_options) for file in tables}
    else:
        folders = {_PART_NAMES[folder.name]: folder for folder in _folders(path) if folder.name in _PART_NAMES}
        parts = {part: _read_classes(folder, path) for part, folder in folders.items()}
        if not parts and any(_texts(folder) for folder in _folders(path)):
            parts = {"all": _read_classes(path, path)}
    if not {"train", "all"} & set(parts):
        raise ValueError(
            f"{path.name}: no training texts; expected train/CLASS/*.txt, CLASS/*.txt, or a file train.csv, "
            f"train.tsv or train.jsonl. Received: {sorted(entry.name for entry in path.iterdir())[:10]}."
        )
    return parts


def _read_classes(folder: Path, root: Path) -> Part:
    classes = _folders(folder)
    if not classes:
        raise ValueError(
            f"{folder.name}: expected a folder per class in it. "
            f"Received: {sorted(entry.name for entry in folder.iterdir())[:10]}."
        )
    part = Part()
    for class_folder in classes:
        files = _texts(class_folder)
        if not files:
            raise ValueError(f"{class_folder.relative_to(root)}: a class must have .txt files. Received: none.")
        for file in files:
            text, decoded = read_text(file)
            part.add(text, class_folder.name, file.relative_to(root).as_posix())
            part.undecodable += not decoded
    return part


def _folders(path: Path) -> list[Path]:
    hidden = (".", "__")
    return [
        entry
        for entry in sorted(path.iterdir())
        if entry.is_dir() and entry.name != _NOT_A_CLASS and not entry.name.startswith(hidden)
    ]


def _texts(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix == ".txt")
