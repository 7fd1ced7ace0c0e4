"""Training: recipes, strategies, the distributed fit, checkpoints, the run folder and resuming."""

import importlib

# Lazy: reading a recipe or printing `--help` must not load TensorFlow.
_PUBLIC = {
    "DataRecipe": "sections",
    "ExportRecipe": "sections",
    "JudgeRecipe": "sections",
    "ModelRecipe": "sections",
    "OptimizerRecipe": "sections",
    "Recipe": "recipe",
    "TrainRecipe": "sections",
    "load_recipe": "recipes",
    "CheckpointStore": "checkpoints",
    "RunFolder": "run_folder",
    "DistributedModel": "distributed",
    "run": "runner",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str):
    if name in _PUBLIC:
        return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
