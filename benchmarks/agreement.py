"""How closely every exported artefact agrees with Keras on raw held-out texts.

    python benchmarks/agreement.py --run=runs/imdb

Takes 500 texts of the run's test part as they are in the source (markup included), 100 of them longer than the limit,
and compares logits: those of `text_logits` and `tokens` of the SavedModel, and of both `.tflite` files in LiteRT. As a
counter-check, the mask and the segments of the token inputs are swapped, which must show.
"""

import argparse
import json
import os
import pathlib
import platform
import sys

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
RESULT = HERE / "results" / "agreement.json"
TOLERANCE = 1e-4
BATCH = 8


def choose(texts: list[str], packer, count: int, longer: int, seed: int = 0) -> list[str]:
    """Draws texts of which exactly `longer` exceed the packer's limit; short and long ones alternate at random."""
    lengths = token_counts(packer, texts)
    random = np.random.default_rng(seed)
    over, within = (
        random.permutation(
            np.flatnonzero(lengths > packer.max_length - 2)
            if long
            else np.flatnonzero(lengths <= packer.max_length - 2)
        )
        for long in (True, False)
    )
    if len(over) < longer or len(within) < count - longer:
        raise ValueError(
            f"There are too few texts for {longer} over the limit and {count - longer} within it. "
            f"Received: {len(over)} and {len(within)}"
        )
    chosen = random.permutation(np.concatenate([over[:longer], within[: count - longer]]))
    return [texts[i] for i in chosen]


def token_counts(packer, texts: list[str], batch: int = 1000) -> np.ndarray:
    """Returns the number of tokens of each text before it is cut."""
    parts = [packer.tokenizer.tokenize(texts[i : i + batch]).row_lengths() for i in range(0, len(texts), batch)]
    return np.concatenate([part.numpy() for part in parts])


def measure(pipeline, folder: pathlib.Path, texts: list[str]) -> dict[str, dict[str, float]]:
    """Returns the largest and the mean absolute difference of logits for each way into each artefact.

    Args:
        pipeline: `TextPipeline` that was exported.
        folder: Folder of the export.
        texts: Raw texts.
    """
    from keras_transformer import data
    from keras_transformer.export.runners import open_saved_model, open_tflite

    logits = pipeline.logits(texts)
    encoded = data.encode(pipeline.packer, texts)
    rows = [encoded.row(i).tolist() for i in range(len(encoded))]
    found = {}

    def add(name: str, given: np.ndarray, by_row: bool) -> None:
        pooled = data.pool_windows(given, encoded.example_ids) if by_row else given
        difference = np.abs(pooled.astype(np.float64) - logits)
        # NaN compares with nothing: make it large.
        difference = np.where(np.isfinite(difference), difference, np.inf)
        found[name] = {"max": float(difference.max()), "mean": float(difference.mean())}

    versions = [path for path in (folder / "saved_model").glob("*") if path.name.isdecimal()]
    if versions:
        signatures = open_saved_model(max(versions, key=lambda path: int(path.name)))
        add("SavedModel, raw text", text_logits(signatures["text_logits"], texts), False)
        add("SavedModel, token ids", token_logits(signatures["tokens"], rows, BATCH), True)
        add("SavedModel, mask and segments swapped", token_logits(swapped(signatures["tokens"]), rows, BATCH), True)
    path = folder / "tflite" / "text.tflite"
    if path.is_file():
        add("text.tflite, raw text", text_logits(open_tflite(path, os.cpu_count())[1], texts), False)
    path = folder / "tflite" / "tokens.tflite"
    if path.is_file():
        run, length = open_tflite(path, os.cpu_count())[1], pipeline.packer.max_length
        add("tokens.tflite, token ids", token_logits(run, rows, 1, length), True)
        add("tokens.tflite, mask and segments swapped", token_logits(swapped(run), rows, 1, length), True)
    return found


def text_logits(run, texts: list[str]) -> np.ndarray:
    """Returns the logits of a text signature, a few texts at a time."""
    return np.concatenate([run(text=texts[i : i + BATCH])["logits"] for i in range(0, len(texts), BATCH)])


def token_logits(run, rows: list[list[int]], batch: int, length: int | None = None) -> np.ndarray:
    """Returns the logits of a token signature for rows of token ids, padded to `length` or to the longest."""
    from keras_transformer.export.checks import token_batch

    parts = [rows[i : i + batch] for i in range(0, len(rows), batch)]
    return np.concatenate([run(**token_batch(part, length or max(map(len, part))))["logits"] for part in parts])


def swapped(run):
    """Returns a token signature that gets the mask as segments and the segments as mask."""

    def wrong(input_word_ids, input_mask, input_type_ids):
        return run(input_word_ids=input_word_ids, input_mask=input_type_ids, input_type_ids=input_mask)

    return wrong


def main() -> int:
    """Measures, prints a table and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=pathlib.Path, required=True, help="run folder with model/ and export/")
    parser.add_argument("--texts", type=int, default=500, help="number of texts (default: %(default)s)")
    parser.add_argument("--longer", type=int, default=100, help="how many exceed the limit (default: %(default)s)")
    parser.add_argument("--data_dir", help="folder of prepared data, as for train_main.py")
    parser.add_argument("--output", type=pathlib.Path, default=RESULT, help="file to write (default: %(default)s)")
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

    import keras
    import tensorflow as tf

    import keras_transformer
    from keras_transformer.training import RunFolder
    from keras_transformer.training.preparation import load_splits

    pipeline = keras_transformer.load(options.run)
    splits = load_splits(RunFolder(options.run).recipe(), options.data_dir)
    held_out = splits.test if splits.test_raw is None else splits.test_raw
    texts = choose(held_out.texts, pipeline.packer, options.texts, options.longer)
    found = measure(pipeline, options.run / "export", texts)
    if not found:
        print(f"error: nothing is exported in {options.run / 'export'}", file=sys.stderr)
        return 1

    lengths = token_counts(pipeline.packer, texts)
    print(f"{len(texts)} raw held-out texts, {options.longer} over the limit of {pipeline.packer.max_length} tokens")
    print(f"{'':44}{'largest':>10}{'mean':>10}   (difference of logits from Keras)")
    for name, difference in found.items():
        print(f"{name:44}{difference['max']:10.1e}{difference['mean']:10.1e}")
    right = all(difference["max"] <= TOLERANCE for name, difference in found.items() if "swapped" not in name)
    caught = all(difference["max"] > TOLERANCE for name, difference in found.items() if "swapped" in name)
    print(f"all within {TOLERANCE:g}: {'yes' if right else 'NO'}; swapped inputs caught: {'yes' if caught else 'NO'}")
    result = {
        "run": options.run.name,
        "texts": len(texts),
        "longer_than_limit": int((lengths > pipeline.packer.max_length - 2).sum()),
        "not_ascii": sum(not text.isascii() for text in texts),
        "max_length": pipeline.packer.max_length,
        "truncation": pipeline.packer.truncation,
        "tolerance": TOLERANCE,
        "difference_of_logits": found,
        "within_tolerance": right,
        "swapped_inputs_caught": caught,
        "data": splits.description,
        "versions": {"python": platform.python_version(), "tensorflow": tf.__version__, "keras": keras.__version__},
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0 if right and caught else 1


if __name__ == "__main__":
    sys.exit(main())
