"""Checks of what pipelines are given, and the settings of a saved one."""

import json
import pathlib
from collections.abc import Sequence
from typing import Any

SETTINGS_FILE = "pipeline.json"
CLASSIFICATION = "text_classification"
GENERATION = "text_generation"


def check_texts(texts: Sequence[str], name: str = "texts") -> list[str]:
    """Returns a list of texts.

    Args:
        texts: The texts.
        name: Name of the argument.

    Raises:
        ValueError: For one text instead of a list, or something that is no text.
    """
    if isinstance(texts, str | bytes):
        raise ValueError(f"{name} must be a list of texts: write [text]. Received: {texts[:80]!r}")
    texts = list(texts)
    for text in texts:
        if not isinstance(text, str | bytes):
            raise ValueError(f"{name} must be strings. Received: {type(text).__name__}")
    return texts


def check_target(folder: pathlib.Path) -> None:
    """Refuses to replace a folder that holds anything but a saved pipeline.

    Raises:
        FileExistsError: If it does.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / SETTINGS_FILE).is_file():
        raise FileExistsError(f"{folder} is not empty and holds no saved pipeline. Choose another folder.")


def read_settings(folder: pathlib.Path) -> tuple[pathlib.Path, dict[str, Any]]:
    """Finds a saved pipeline and reads its settings.

    Args:
        folder: The folder, or a run folder, whose `model/` is read.

    Returns:
        The folder, and the settings; "task" among them.

    Raises:
        FileNotFoundError: If there is no saved pipeline.
        ValueError: If the settings are damaged.
    """
    if not (folder / SETTINGS_FILE).is_file() and (folder / "model" / SETTINGS_FILE).is_file():
        folder = folder / "model"
    path = folder / SETTINGS_FILE
    if not path.is_file():
        raise FileNotFoundError(f"There is no saved pipeline ({SETTINGS_FILE}) in {folder}.")
    try:
        settings = {"task": CLASSIFICATION} | json.loads(path.read_text("utf-8"))
    except (ValueError, TypeError) as error:
        raise damaged(folder, error) from error
    return folder, settings


def check_task(folder: pathlib.Path, settings: dict[str, Any], task: str) -> None:
    """Raises ValueError unless a saved pipeline is one for this task."""
    if settings["task"] != task:
        raise ValueError(
            f"{folder} holds a pipeline for {settings['task']}: `keras_transformer.load` loads pipelines of every "
            f"kind. Received: a request for {task}"
        )


def damaged(folder: pathlib.Path, error: Exception) -> ValueError:
    """Returns the error of a saved pipeline that cannot be read."""
    return ValueError(f"The saved pipeline in {folder} is damaged: {str(error).splitlines()[0]}")
