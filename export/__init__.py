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
    "accuracy",
    "checks",
    "client",
    "conversion",
    "deviations",
    "differences",
    "exporter",
    "file_kinds",
    "functions",
    "generator",
    "held_out",
    "low_bits",
    "measuring",
    "mediapipe",
    "mediapipe_metadata",
    "mediapipe_tokens",
    "model_card",
    "onnx_file",
    "operators",
    "precision",
    "readers",
    "report",
    "report_html",
    "runners",
    "saved_model",
    "scoring",
    "serving",
    "signatures",
    "speed",
    "staging",
    "tasks",
    "tflite",
    "tflite_file",
    "verify",
    "verify_file",
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
