"""Losses per example or per token, from logits, for every kind of label."""

from keras_transformer.losses.classification import ClassificationLoss, RegressionLoss, for_kind
from keras_transformer.losses.tokens import BinaryLoss

__all__ = ["BinaryLoss", "ClassificationLoss", "RegressionLoss", "for_kind"]
