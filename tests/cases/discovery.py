"""Finds what is public, by walking the modules."""

import importlib
import inspect
import pkgutil


def our_modules() -> list:
    """Imports and returns every module of the package, export included (command-line entries not)."""
    import keras_transformer
    import keras_transformer.export

    names = ["keras_transformer"]
    for package in (keras_transformer, keras_transformer.export):
        names.append(package.__name__)
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if not module.name.endswith("__main__"):
                names.append(module.name)
    return [importlib.import_module(name) for name in sorted(set(names))]


def our_classes(*bases: type) -> set[type]:
    """All public classes that are defined in the package and derive from one of `bases`."""
    return {
        value
        for module in our_modules()
        for name, value in vars(module).items()
        if inspect.isclass(value)
        and value.__module__.split(".")[0] == "keras_transformer"
        and issubclass(value, bases)
        and not name.startswith("_")
    }
