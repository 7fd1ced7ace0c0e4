"""Where the package runs from: finds `export` in a checkout, and names a clash with the other `keras_transformer`."""

import importlib.machinery
import importlib.metadata
import importlib.util
import pathlib
import sys
import warnings

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_NAME = "keras_transformer.export"


class _CheckoutFinder:
    """Finds `keras_transformer.export` in the folder `export/` beside the package, as a checkout has it.

    An installed package has it inside (setup.cfg, `package_dir`). This finder comes first: an editable install of
    another checkout would otherwise give its `export` to this package.
    """

    @staticmethod
    def find_spec(name: str, path=None, target=None) -> importlib.machinery.ModuleSpec | None:
        if name != _NAME:
            return None
        folder = _ROOT / "export"
        return importlib.util.spec_from_file_location(
            name, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )


def check() -> None:
    """Makes `export` importable from a checkout, and warns of a distribution that owns the same import name."""
    if (_ROOT / "setup.cfg").is_file() and (_ROOT / "export" / "__init__.py").is_file():
        sys.meta_path.insert(0, _CheckoutFinder)
    try:
        other = importlib.metadata.distribution("keras-transformer")
    except importlib.metadata.PackageNotFoundError:
        return
    warnings.warn(
        f"The distribution keras-transformer {other.version} installs a package of the same import name and mixes "
        "its files with ours. Run: pip uninstall keras-transformer, then reinstall keras-transformer-toolkit.",
        stacklevel=3,
    )
