"""The export of a tiny pipeline, made once."""

import dataclasses
import functools
import json
import pathlib

import pytest

from tests.export.tiny_pipeline import make_pipeline


@dataclasses.dataclass(frozen=True)
class Exported:
    """A pipeline and the folder of its export."""

    pipeline: object
    folder: pathlib.Path

    @property
    def saved_model(self) -> pathlib.Path:
        return self.folder / "saved_model" / "1"

    @property
    def text(self) -> pathlib.Path:
        return self.folder / "tflite" / "text.tflite"

    @property
    def tokens(self) -> pathlib.Path:
        return self.folder / "tflite" / "tokens.tflite"

    @property
    def report(self) -> dict:
        return json.loads((self.folder / "report.json").read_text())


@pytest.fixture(scope="session")
def exported(tmp_path_factory) -> Exported:
    """All three artefacts of a tiny pipeline with a temperature."""
    from keras_transformer.export import export_pipeline

    pipeline = make_pipeline(num_layers=2, temperature=1.5)
    folder = tmp_path_factory.mktemp("exported") / "export"
    export_pipeline(pipeline, folder)
    return Exported(pipeline, folder)


@pytest.fixture(scope="session")
def served(tmp_path_factory):
    """A function from the kind of a model to its SavedModel, each made once."""
    from keras_transformer.export import ServingOptions, export_pipeline

    names = {"single_label": ("negative", "positive"), "multi_label": ("action", "comedy"), "regression": ("stars",)}

    @functools.cache
    def export(kind: str) -> Exported:
        # Scores in between: certain ones would hide differences.
        pipeline = make_pipeline(kind, names[kind], **({} if kind == "regression" else {"temperature": 9.0}))
        folder = tmp_path_factory.mktemp("served") / kind
        export_pipeline(pipeline, folder, ["saved_model"], serving=ServingOptions(batch_sizes=(1, 2, 8)))
        return Exported(pipeline, folder)

    return export
