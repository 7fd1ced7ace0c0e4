"""Model, packer and settings in one object: fit, predict, generate, save, load."""

from keras_transformer.pipelines.checks import GENERATION
from keras_transformer.pipelines.fine_tuning import fine_tune
from keras_transformer.pipelines.loading import load, task_of
from keras_transformer.pipelines.scoring import score_rows
from keras_transformer.pipelines.text_generation import TextGenerationPipeline, load_generator
from keras_transformer.pipelines.text_pipeline import TextPipeline

__all__ = [
    "GENERATION",
    "TextGenerationPipeline",
    "TextPipeline",
    "fine_tune",
    "load",
    "load_generator",
    "score_rows",
    "task_of",
]
