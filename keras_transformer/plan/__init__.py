"""What a training will need before it is paid for: parameters, arithmetic, memory, time and cost.

Names are resolved on first access, so that the command can say how TensorFlow is loaded.
"""

import importlib

_NAMES = {
    "Batch": "stages",
    "Flops": "planning",
    "Machine": "machine",
    "Memory": "memory",
    "Optimum": "scaling",
    "Plan": "planning",
    "Time": "timing",
    "by_part": "parameters",
    "calibrate": "calibration",
    "compute_optimal": "scaling",
    "find": "sources",
    "load": "machine",
    "predicted_loss": "scaling",
    "training": "planning",
}

__all__ = sorted(_NAMES)


def __getattr__(name: str):
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_NAMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
