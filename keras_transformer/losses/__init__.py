"""Losses per example, from logits, for every kind of label."""

from keras_transformer.losses.classification import ClassificationLoss, RegressionLoss, for_kind

__all__ = ["ClassificationLoss", "RegressionLoss", "for_kind"]
