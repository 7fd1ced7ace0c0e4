"""Pretrained weights: Hugging Face folders and keras-nlp presets into our models, and our models back."""

from keras_transformer.pretrained.classifiers import load_class_names, load_classifier
from keras_transformer.pretrained.loading import load_decoder, load_encoder, load_encoder_decoder, load_model
from keras_transformer.pretrained.packers import load_packer, load_special_ids
from keras_transformer.pretrained.saving import save_huggingface
from keras_transformer.pretrained.sources import resolve

__all__ = [
    "load_class_names",
    "load_classifier",
    "load_decoder",
    "load_encoder",
    "load_encoder_decoder",
    "load_model",
    "load_packer",
    "load_special_ids",
    "resolve",
    "save_huggingface",
]
