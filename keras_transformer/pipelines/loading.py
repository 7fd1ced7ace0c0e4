"""`load`: a saved pipeline of any kind."""

import os
import pathlib

from keras_transformer.pipelines.checks import GENERATION, read_settings
from keras_transformer.pipelines.text_generation import TextGenerationPipeline
from keras_transformer.pipelines.text_pipeline import TextPipeline


def load(folder: str | os.PathLike) -> TextPipeline | TextGenerationPipeline:
    """Loads a saved pipeline, or the model of a run folder.

    Args:
        folder: The folder, or a run folder, whose `model/` is read.

    Returns:
        `TextPipeline` or `TextGenerationPipeline`, whichever was saved.

    Raises:
        FileNotFoundError: If there is no saved pipeline.
        ValueError: If a file is damaged.
    """
    kind = TextGenerationPipeline if task_of(folder) == GENERATION else TextPipeline
    return kind.load(folder)


def task_of(folder: str | os.PathLike) -> str | None:
    """Returns the task of a saved pipeline, "text_classification" or "text_generation"; None where there is none."""
    try:
        return read_settings(pathlib.Path(folder))[1]["task"]
    except (FileNotFoundError, ValueError):
        return None  # which loading explains
