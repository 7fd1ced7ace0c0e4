"""Small SavedModels to score with, unverified: in seconds."""

import json
import pathlib

from tests.export.tiny_pipeline import make_pipeline

CLASS_NAMES = {"single_label": ("negative", "positive"), "multi_label": ("action", "comedy"), "regression": ("stars",)}


def write_model(folder: pathlib.Path, kind: str = "single_label"):
    """Writes the SavedModel of an untrained pipeline, and returns the pipeline."""
    from keras_transformer.export import Contract
    from keras_transformer.export.saved_model import write_saved_model

    # Scores in between: certain ones would hide differences.
    temperature = 1.0 if kind == "regression" else 9.0
    pipeline = make_pipeline(kind, CLASS_NAMES[kind], temperature=temperature)
    contract = Contract(kind, CLASS_NAMES[kind], temperature)
    write_saved_model(pipeline.model, pipeline.packer, contract, folder)
    return pipeline


def entries(output: pathlib.Path, kind: str) -> list[dict]:
    """Returns what the files of one kind, "scores" or "bad_lines", hold."""
    paths = sorted((output / kind).glob("part-*.jsonl"))
    return [json.loads(line) for path in paths for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
