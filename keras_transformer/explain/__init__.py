"""Why a model decides as it does: integrated gradients, and a test of whether they can be trusted."""

from keras_transformer.explain.deletion import deletion_test, faithfulness
from keras_transformer.explain.gradients import Attribution, Word, integrated_gradients

__all__ = ["Attribution", "Word", "deletion_test", "faithfulness", "integrated_gradients"]
