"""Does MediaPipe answer like the interpreter on the same ids, and like the SavedModel on the same texts?

    python -m benchmarks.mediapipe_agreement --run=runs/imdb --python=.venv-mediapipe/bin/python

Exports a run for MediaPipe, hands 500 raw held-out reviews, the longest among them, to MediaPipe's own `TextClassifier`
and `TextEmbedder`, which live in an environment of their own, and compares. MediaPipe's tokenizer lowers ASCII letters
only and strips no accents, so texts beyond ASCII may get other answers than from the SavedModel; these are counted.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import numpy as np

from benchmarks import rounds

CLIENT = pathlib.Path(__file__).with_name("mediapipe_client.py")
TO_INTERPRETER, TO_SAVED_MODEL = 1e-5, 1e-4


def longest_among(texts: list[str], count: int) -> list[str]:
    """Returns the first texts and, a tenth of the whole, the longest of all."""
    longest = sorted(texts, key=len)[-(count // 10) :]
    return [*texts[: count - len(longest)], *longest]


def answers_of(python: str, classifier: pathlib.Path, embedder: pathlib.Path | None, texts: list[str]) -> dict:
    """Returns what MediaPipe answers.

    Args:
        python: Interpreter of an environment that has MediaPipe.
        classifier: File for `TextClassifier`.
        embedder: File for `TextEmbedder`, or None for none.
        texts: Raw texts.

    Returns:
        Dict with `scores`, for each text a dict from label to probability; `heads`, the names of the heads;
        `embeddings`, a list of vectors; `classify_seconds` and `version`.

    Raises:
        RuntimeError: If MediaPipe fails.
    """
    with tempfile.TemporaryDirectory() as scratch:
        given, answers = pathlib.Path(scratch, "texts.json"), pathlib.Path(scratch, "answers.json")
        given.write_text(json.dumps(texts), encoding="utf-8")
        command = [python, CLIENT, classifier, embedder or "-", given, answers]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"MediaPipe failed on {classifier.name}. Its last words: {done.stderr[-2000:]}")
        return json.loads(answers.read_text(encoding="utf-8"))


def interpreted(path: pathlib.Path, packer, texts: list[str]) -> np.ndarray:
    """Returns the one output of a file in the interpreter, for the ids that MediaPipe makes of texts."""
    from keras_transformer.export import runners
    from keras_transformer.export.checks import token_batch
    from keras_transformer.export.mediapipe_tokens import mediapipe_ids

    run = runners.open_tflite(path)[1]
    vocabulary = {token: i for i, token in enumerate(packer.tokenizer.vocabulary)}
    rows = [mediapipe_ids(text, vocabulary, packer.max_length) for text in texts]
    return np.concatenate([next(iter(run(**token_batch([row], len(row))).values())) for row in rows])


def compare(python: str, folder: pathlib.Path, pipeline, texts: list[str], ending: str = "") -> dict:
    """Compares MediaPipe with the interpreter and with the SavedModel.

    Args:
        python: Interpreter of an environment that has MediaPipe.
        folder: Export of `pipeline` with the formats `saved_model` and `mediapipe`.
        pipeline: `TextPipeline` of several classes of which one holds.
        texts: Raw texts.
        ending: str, of the file's name: "" for float32 (with the embedder), or "_int8".

    Returns:
        Dict with `interpreter`, the largest difference of a score from the interpreter on the same ids; `embedder`, the
        same for vectors, as a share of their largest value (float32 only); `ascii` and `others`, for texts in ASCII and
        beyond, a dict with the number of `texts`, the `largest` difference from the SavedModel, and `other_labels`;
        `spread`, the largest score of the last class minus the smallest; `heads`, `milliseconds` per text, and
        `mediapipe`, its version.
    """
    from keras_transformer.export import runners

    classifier = folder / "mediapipe" / f"classifier{ending}.tflite"
    embedder = None if ending else folder / "mediapipe" / "embedder.tflite"
    answers = answers_of(python, classifier, embedder, texts)
    scores = np.array([[row[name] for name in pipeline.class_names] for row in answers["scores"]])
    # A null byte ends a text for MediaPipe, whose interface is that of C.
    seen = [text.split("\x00")[0] for text in texts]
    found = {"interpreter": float(np.abs(scores - interpreted(classifier, pipeline.packer, seen)).max())}
    if embedder:
        expected = interpreted(embedder, pipeline.packer, seen)
        found["embedder"] = float(np.abs(np.array(answers["embeddings"]) - expected).max() / np.abs(expected).max())
    serve = runners.open_saved_model(folder / "saved_model" / "1")["serving_default"]
    served = np.concatenate([serve(text=seen[i : i + 32])["probabilities"] for i in range(0, len(seen), 32)])
    # Special tokens that are written in a text are single tokens for us, and words and brackets for MediaPipe.
    special = [token for token in pipeline.packer.tokenizer.vocabulary if re.fullmatch(r"\[.+\]", token)]
    alike = np.array([text.isascii() and not any(token in text for token in special) for text in seen])
    for name, rows in {"ascii": alike, "others": ~alike}.items():
        found[name] = {
            "texts": int(rows.sum()),
            "largest": float(np.abs(scores - served)[rows].max(initial=0)),
            "other_labels": int((scores.argmax(axis=1) != served.argmax(axis=1))[rows].sum()),
        }
    return found | {
        "spread": float(np.ptp(scores[:, -1])),
        "heads": sorted(set(answers["heads"])),
        "milliseconds": round(1000 * answers["classify_seconds"] / len(texts), 1),
        "mediapipe": answers["version"],
    }


def main(arguments: list[str] | None = None) -> int:
    """Exports, compares, prints a table and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=pathlib.Path, required=True, help="run folder")
    parser.add_argument("--python", required=True, help="Python of an environment that has MediaPipe")
    parser.add_argument("--texts", type=int, default=500, help="number of reviews (default: %(default)s)")
    output = rounds.RESULTS / "mediapipe_agreement.json"
    parser.add_argument("--output", type=pathlib.Path, default=output, help="result file (default: %(default)s)")
    options = parser.parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import keras_transformer
    from keras_transformer.export import export_pipeline
    from keras_transformer.export.held_out import load_held_out

    pipeline = keras_transformer.load(options.run)
    texts = longest_among(load_held_out(options.run, None).texts, options.texts)
    with tempfile.TemporaryDirectory() as scratch:
        folder, started = pathlib.Path(scratch) / "export", time.perf_counter()
        export_pipeline(pipeline, folder, ["saved_model", "mediapipe"], precisions=["float32", "int8"])
        print(f"exported in {time.perf_counter() - started:.0f} s; {len(texts)} reviews for MediaPipe", flush=True)
        files = {"float32": "", "int8": "_int8"}
        found = {name: compare(options.python, folder, pipeline, texts, ending) for name, ending in files.items()}
    for name, entry in found.items():
        print(f"{name}: at most {entry['interpreter']:.1e} from the interpreter on the same ids")
        for kind, title in {"ascii": "in ASCII", "others": "beyond"}.items():
            part = entry[kind]
            print(
                f"  {part['texts']:4} texts {title:8}: at most {part['largest']:.1e} from the SavedModel in float32, "
                f"{part['other_labels']} other labels"
            )
    result = {"texts": len(texts), "max_length": pipeline.packer.max_length} | rounds.machine() | {"files": found}
    options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    right = all(entry["interpreter"] <= TO_INTERPRETER for entry in found.values())
    return 0 if right and found["float32"]["ascii"]["largest"] <= TO_SAVED_MODEL else 1


if __name__ == "__main__":
    sys.exit(main())
