"""Pretraining objectives: how batches are made from a corpus, and the models and losses that go with them."""

from keras_transformer.objectives.contrastive import Contrastive
from keras_transformer.objectives.creation import OBJECTIVES, create
from keras_transformer.objectives.denoising import Denoising
from keras_transformer.objectives.entropy import unigram_entropy
from keras_transformer.objectives.masked import MaskedTokens
from keras_transformer.objectives.masking import Masking
from keras_transformer.objectives.next_token import NextToken, PrefixTokens
from keras_transformer.objectives.objective import Objective, Output
from keras_transformer.objectives.replaced import ReplacedTokens
from keras_transformer.objectives.row_numbers import RowNumbers
from keras_transformer.objectives.sentence_pairs import NextSentence, SentenceOrder
from keras_transformer.objectives.span_corruption import SpanCorruption
from keras_transformer.objectives.specials import Specials

__all__ = [
    "OBJECTIVES",
    "Contrastive",
    "Denoising",
    "MaskedTokens",
    "Masking",
    "NextSentence",
    "NextToken",
    "Objective",
    "Output",
    "PrefixTokens",
    "ReplacedTokens",
    "RowNumbers",
    "SentenceOrder",
    "SpanCorruption",
    "Specials",
    "create",
    "unigram_entropy",
]
