"""Model, packer and labels in one object: fit, predict, save, load."""

from keras_transformer.pipelines.fine_tuning import fine_tune
from keras_transformer.pipelines.scoring import score_rows
from keras_transformer.pipelines.text_pipeline import TextPipeline, load

__all__ = ["TextPipeline", "fine_tune", "load", "score_rows"]
