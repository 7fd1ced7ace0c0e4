"""From a trained pipeline to artefacts that run without this package: SavedModel and `.tflite`, each one verified."""

import importlib

_NAMES = {
    "Contract": "signatures",
    "ServingOptions": "serving.options",
    "VerificationError": "verify",
    "export_generator": "generator",
    "export_pipeline": "exporter",
}
_MODULES = (
    "checks",
    "client",
    "differences",
    "exporter",
    "generator",
    "operators",
    "report",
    "runners",
    "saved_model",
    "serving",
    "signatures",
    "staging",
    "tasks",
    "tflite",
    "verify",
)

__all__ = ["Contract", "ServingOptions", "VerificationError", "export_generator", "export_pipeline"]


def __getattr__(name: str):
    if name in _NAMES:
        return getattr(importlib.import_module(f".{_NAMES[name]}", __name__), name)
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
