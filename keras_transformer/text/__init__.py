"""Text: tokenizers, their files and vocabularies, and packing texts into model inputs."""

from keras_transformer.text.albert_rules import AlbertRules
from keras_transformer.text.byte_level_bpe import ByteLevelBPETokenizer
from keras_transformer.text.frame import Frame
from keras_transformer.text.loading import load_tokenizer
from keras_transformer.text.packer import TextPacker
from keras_transformer.text.sentence_piece import SentencePieceTokenizer
from keras_transformer.text.subword_training import train_byte_level_bpe, train_sentence_piece
from keras_transformer.text.vocabulary import load_vocabulary, save_vocabulary, train_wordpiece
from keras_transformer.text.vocabulary_training import train_vocabulary
from keras_transformer.text.wordpiece import WordPieceTokenizer

__all__ = [
    "AlbertRules",
    "ByteLevelBPETokenizer",
    "Frame",
    "SentencePieceTokenizer",
    "TextPacker",
    "WordPieceTokenizer",
    "load_tokenizer",
    "load_vocabulary",
    "save_vocabulary",
    "train_byte_level_bpe",
    "train_sentence_piece",
    "train_vocabulary",
    "train_wordpiece",
]
