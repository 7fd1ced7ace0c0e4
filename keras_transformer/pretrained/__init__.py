"""Pretrained weights: Hugging Face folders and keras-nlp presets into our models, and back; word vectors."""

from keras_transformer.pretrained.classifiers import load_class_names, load_classifier
from keras_transformer.pretrained.loading import load_decoder, load_encoder, load_encoder_decoder, load_model
from keras_transformer.pretrained.masked_heads import load_masked_language_model
from keras_transformer.pretrained.packers import load_packer, load_special_ids
from keras_transformer.pretrained.saving import save_huggingface
from keras_transformer.pretrained.skip_gram import train_word_vectors
from keras_transformer.pretrained.sources import resolve
from keras_transformer.pretrained.token_embeddings import set_token_embeddings
from keras_transformer.pretrained.word_tables import TokenTable, token_table
from keras_transformer.pretrained.word_vectors import WordVectors

__all__ = [
    "TokenTable",
    "WordVectors",
    "load_class_names",
    "load_classifier",
    "load_decoder",
    "load_encoder",
    "load_encoder_decoder",
    "load_masked_language_model",
    "load_model",
    "load_packer",
    "load_special_ids",
    "resolve",
    "save_huggingface",
    "set_token_embeddings",
    "token_table",
    "train_word_vectors",
]
