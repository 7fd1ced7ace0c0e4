"""Text: the WordPiece tokenizer, its vocabulary, and packing texts into model inputs."""

from keras_transformer.text.packer import TextPacker
from keras_transformer.text.vocabulary import load_vocabulary, save_vocabulary, train_wordpiece
from keras_transformer.text.wordpiece import WordPieceTokenizer

__all__ = ["TextPacker", "WordPieceTokenizer", "load_vocabulary", "save_vocabulary", "train_wordpiece"]
