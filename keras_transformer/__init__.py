"""Build, pretrain, fine-tune, explain, compress and deploy Transformers in TensorFlow and Keras.

Nothing heavy is imported until it is used: names are resolved on first access (PEP 562).
"""

import importlib

from keras_transformer import _installation

__version__ = "0.1.0"

_MODULES = (
    "corpus",
    "data",
    "evaluation",
    "explain",
    "export",
    "generation",
    "layers",
    "losses",
    "models",
    "objectives",
    "ops",
    "optimizers",
    "pipelines",
    "plan",
    "pretrained",
    "text",
    "training",
)
_NAMES = {
    "TextGenerationPipeline": "keras_transformer.pipelines",
    "TextPipeline": "keras_transformer.pipelines",
    "fine_tune": "keras_transformer.pipelines",
    "load": "keras_transformer.pipelines",
    "load_generator": "keras_transformer.pipelines",
}

__all__ = ["__version__", *_MODULES, *_NAMES]

_installation.check()


def __getattr__(name: str):
    if name in _MODULES:
        return importlib.import_module(f"keras_transformer.{name}")
    if name in _NAMES:
        value = getattr(importlib.import_module(_NAMES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'keras_transformer' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
