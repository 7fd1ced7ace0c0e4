"""The families of models whose weights come in and go out: for each a config translation and a table of weights."""

from typing import Any

from keras_transformer.pretrained.families import albert, bart, bert, distilbert, electra, gpt2, llama, roberta, t5
from keras_transformer.pretrained.families.family import Classifier, Family, MaskedHead, Preset

_MODULES = (bert, electra, albert, distilbert, roberta, gpt2, llama, t5, bart)
FAMILIES: dict[str, Family] = {module.FAMILY.model_type: module.FAMILY for module in _MODULES}
"""Families by their `model_type`, in the order in which one is sought for a model that shall be written."""

__all__ = ["FAMILIES", "Classifier", "Family", "MaskedHead", "Preset", "family_named", "family_of_preset"]


def family_named(model_type: Any) -> Family:
    """Returns the family of a `model_type` of Hugging Face.

    Raises:
        ValueError: For an unknown one.
    """
    if model_type not in FAMILIES:
        raise ValueError(
            f"Checkpoints of model_type {', '.join(map(repr, sorted(FAMILIES)))} can be loaded. "
            f"Received: model_type={model_type!r}"
        )
    return FAMILIES[model_type]


def family_of_preset(class_name: Any) -> Family:
    """Returns the family of a backbone of keras-nlp.

    Raises:
        ValueError: For an unknown one.
    """
    backbones = {family.preset.backbone: family for family in FAMILIES.values() if family.preset is not None}
    if class_name not in backbones:
        raise ValueError(
            f"keras-nlp presets of a {', '.join(sorted(backbones))} can be loaded. Received: class_name={class_name!r}"
        )
    return backbones[class_name]
