"""Data sets of the TensorFlow Datasets catalogue, prepared beforehand or, when asked, downloaded."""

import os
import socket
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from keras_transformer.data.part import Part

_PART_NAMES = {"train": "train", "validation": "validation", "dev": "validation", "test": "test"}
_INSTALL = "pip install tensorflow-datasets importlib_resources"


def default_data_dir() -> Path:
    """Return the folder in which TFDS keeps what it prepares.

    Returns:
        `$TFDS_DATA_DIR`, or `~/tensorflow_datasets`.
    """
    return Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def read_tfds(
    name: str,
    data_dir: Path | None = None,
    download: bool = False,
    text_feature: str | None = None,
    label_feature: str | None = None,
) -> tuple[dict[str, Part], tuple[str, ...] | None, str | None, int]:
    """Read a prepared data set.

    Args:
        name: str, as in `tfds.load`: "ag_news_subset", "glue/sst2:2.0.0".
        data_dir: the folder in which TFDS keeps what it prepares.
        download: bool, whether to download and prepare it if it is not there. Default False.
        text_feature: str, the feature with the text; by default the only `Text` feature.
        label_feature: str, the feature with the label; by default the supervised one.

    Returns:
        The parts, the class names if the data set has any, the kind if the features tell it, and how many texts
        have no label.

    Raises:
        ImportError: if TFDS is not installed.
        FileNotFoundError: if the data set is not prepared.
        ConnectionError: if it must be downloaded and there is no network.
        ValueError: if it is unknown or has no such features.
    """
    tfds, builder = prepared_builder(name, data_dir, download)
    text_feature, label_feature = _features(tfds, builder.info, text_feature, label_feature)
    class_names, kind = _label_type(tfds, builder.info.features[label_feature])
    parts, unlabelled = {}, 0
    for split in builder.info.splits:
        part_name = _PART_NAMES.get(split)
        if part_name and part_name not in parts:
            part, missing = _read_split(tfds, builder, split, text_feature, label_feature, class_names)
            unlabelled += missing
            if part.texts:
                parts[part_name] = part
    if "train" not in parts:
        raise ValueError(f"{name}: no labelled training part. Received: splits {sorted(builder.info.splits)}.")
    return parts, class_names, kind, unlabelled


def prepared_builder(name: str, data_dir: Path | None = None, download: bool = False) -> tuple[Any, Any]:
    """Return the package and the builder of a prepared data set.

    Args:
        name: str, as in `tfds.load`.
        data_dir: the folder in which TFDS keeps what it prepares.
        download: bool, whether to download and prepare it if it is not there. Default False.

    Returns:
        The package `tensorflow_datasets`, and the builder.

    Raises:
        ImportError, FileNotFoundError, ConnectionError, RuntimeError, ValueError: as `read_tfds`.
    """
    tfds = _import_tfds()
    folder = Path(data_dir) if data_dir is not None else default_data_dir()
    try:
        builder = tfds.builder(name, data_dir=str(folder), try_gcs=False)
    except tfds.core.DatasetNotFoundError as error:
        raise ValueError(f"TFDS knows no such data set, and {folder} holds none. Received: {name!r}.") from error
    if not (Path(builder.data_path) / "dataset_info.json").is_file():
        if not download:
            raise FileNotFoundError(
                f"The data set is not prepared: run `tfds build {name}`, or pass download=True (--download). "
                f"Received: {name!r}, data_dir {str(folder)!r}."
            )
        _require_network(builder, folder / "downloads")
        config = tfds.download.DownloadConfig(try_download_gcs=False)
        try:
            builder.download_and_prepare(download_dir=str(folder / "downloads"), download_config=config)
        except Exception as error:  # TFDS raises whatever its downloader met; a user needs one line.
            raise RuntimeError(f"TFDS could not download {name!r}: is there a network? Received: {error}") from error
    return tfds, builder


def text_feature_of(tfds: Any, info: Any, text: str | None = None) -> str | None:
    """Return the feature with the text: the one that is asked for, else the supervised one or the only `Text`.

    Args:
        tfds: the package.
        info: `DatasetInfo` of the data set.
        text: str, the feature that is asked for, whether there is such a one or not. Default None.

    Returns:
        str, or None where it cannot be told.
    """
    if text is not None:
        return text
    texts = [name for name in info.features if isinstance(info.features[name], tfds.features.Text)]
    supervised = (info.supervised_keys or (None,))[0]
    return supervised if supervised in texts else (texts[0] if len(texts) == 1 else None)


def _import_tfds() -> Any:
    try:
        import importlib_resources  # noqa: F401  TFDS needs it and does not declare it (tensorflow/datasets#11212).
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise ImportError(f"Reading TFDS data needs two packages: `{_INSTALL}`. Received: {error}.") from error
    return tfds


def _require_network(builder: Any, downloads: Path) -> None:
    """Fail at once without a network: TFDS itself would try again for three minutes."""
    if urllib.request.getproxies() or any(downloads.rglob("*.INFO")):
        return  # A proxy resolves names itself, and what is downloaded already may be all that is needed.
    for host in {urllib.parse.urlsplit(url).hostname for url in builder.url_infos}:
        try:
            socket.getaddrinfo(host, None)
        except OSError as error:
            raise ConnectionError(
                f"Cannot download {builder.name!r} without a network: copy a prepared TFDS folder and name it with "
                f"data_dir= (--data_dir). Received: {host!r} is unknown ({error})."
            ) from error


def _features(tfds: Any, info: Any, text: str | None, label: str | None) -> tuple[str, str]:
    names = list(info.features)
    supervised = info.supervised_keys or (None, None)
    text = text_feature_of(tfds, info, text)
    if label is None:
        label = supervised[1] if isinstance(supervised[1], str) else ("label" if "label" in names else None)
    for option, name in (("text_column", text), ("label_column", label)):
        if name not in names:
            raise ValueError(
                f"{info.name}: pass {option}= with the name of a feature. Received: {name!r}; the features are {names}."
            )
    return text, label


def _label_type(tfds: Any, feature: Any) -> tuple[tuple[str, ...] | None, str | None]:
    inner = getattr(feature, "feature", None)  # The feature inside a Sequence.
    kind = "multi_label" if inner is not None else None
    if isinstance(inner or feature, tfds.features.ClassLabel):
        return tuple((inner or feature).names), kind or "single_label"
    if inner is None and feature.np_dtype.kind == "f":
        return None, "regression"
    return None, kind


def _read_split(
    tfds: Any, builder: Any, split: str, text: str, label: str, class_names: tuple[str, ...] | None
) -> tuple[Part, int]:
    part, missing = Part(), 0
    for index, row in enumerate(tfds.as_numpy(builder.as_dataset(split, shuffle_files=False))):
        value = row[label]
        if class_names is not None:
            numbers = value.reshape(-1).tolist()
            if any(number < 0 for number in numbers):  # Benchmarks mark hidden labels so.
                missing += 1
                continue
            names = [class_names[number] for number in numbers]
            value = names if value.ndim else names[0]
        elif isinstance(value, bytes):
            value = value.decode("utf-8", errors="replace")
        elif getattr(value, "ndim", 0):
            value = [
                piece.decode("utf-8", errors="replace") if isinstance(piece, bytes) else piece
                for piece in value.tolist()
            ]
        content = row[text]
        try:
            decoded = content.decode("utf-8")
        except UnicodeDecodeError:
            decoded = content.decode("utf-8", errors="replace")
            part.undecodable += 1
        part.add(decoded, value, f"{split}/{index}")
    return part, missing


def _decode(value: Any) -> Any:
    """Names for bytes, and lists for arrays."""
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    if getattr(value, "ndim", 0):
        return [_decode(piece) for piece in value.tolist()]
    return value
