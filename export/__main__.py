"""`python -m keras_transformer.export`: exports a run or a saved pipeline, or verifies what was exported before."""

import argparse
import logging
import os
import pathlib
import sys
from collections.abc import Sequence

from keras_transformer._command import one_line

from .loading import load_tensorflow
from .precision import PRECISIONS, SAVED_MODEL


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: Words after the program's name; None takes those of the process.

    Returns:
        Exit status: 0, or 1 after an error, which is told in one line.
    """
    options = _parser().parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        if options.run is not None and not options.run.is_dir():
            raise FileNotFoundError(f"There is no folder {options.run}. Give a run folder with --run.")
        load_tensorflow()
        if options.verify is not None:
            _verify(options.verify)
        else:
            _export(options)
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m keras_transformer.export",
        description="Export a trained run to SavedModel, TFLite and ONNX. Every artefact is run on stored texts and "
        "compared with the Keras model before it gets its name.",
        allow_abbrev=False,
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--run", type=pathlib.Path, metavar="DIR", help="run folder, or a folder of pipeline.save")
    what.add_argument("--verify", type=pathlib.Path, metavar="PATH", help="only verify an export that exists")
    parser.add_argument(
        "--formats",
        default="saved_model,tflite",
        metavar="LIST",
        help="comma-separated: saved_model, tflite (token ids, and raw text), tflite_tokens, tflite_text, "
        "tflite_dynamic (token ids of any length), mediapipe (TextClassifier and TextEmbedder), mediapipe_classifier, "
        "mediapipe_embedder, onnx (default: %(default)s)",
    )
    parser.add_argument(
        "--precisions",
        default="float32,int8",
        metavar="LIST",
        help=f"comma-separated, of every artefact that is one file: {', '.join(PRECISIONS)} (default: %(default)s)",
    )
    parser.add_argument(
        "--held_out",
        default="500",
        metavar="N",
        help="measure the accuracy on so many held-out texts of the run, 'all', or 0 for none (default: %(default)s)",
    )
    parser.add_argument("--speed", action="store_true", help="measure latency and memory of each artefact")
    parser.add_argument("--output", type=pathlib.Path, metavar="DIR", help="folder to write to (default: RUN/export)")
    parser.add_argument("--version", type=int, metavar="N", help="version of the SavedModel (default: the next one)")
    parser.add_argument("--model_name", default="model", metavar="NAME", help="name at a server (default: %(default)s)")
    parser.add_argument(
        "--embedding",
        choices=("pooled", "mean"),
        default="pooled",
        help="what the signature embed gives: what the head reads, or the mean over the tokens (default: %(default)s)",
    )
    parser.add_argument(
        "--serving_dtype",
        choices=tuple(SAVED_MODEL),
        default="float32",
        help="what the SavedModel computes in: bfloat16 is half as large, and faster on processors that have it "
        "(default: %(default)s)",
    )
    return parser


def _export(options: argparse.Namespace) -> None:
    from keras_transformer import pipelines

    from .exporter import export_pipeline
    from .generator import export_generator
    from .serving import ServingOptions

    formats = [name.strip() for name in options.formats.split(",") if name.strip()]
    out_dir = options.output or options.run / "export"
    serving = ServingOptions(model_name=options.model_name, embedding=options.embedding, dtype=options.serving_dtype)
    why_not = ""
    if pipelines.task_of(options.run) == pipelines.GENERATION:
        if "saved_model" not in formats:
            raise ValueError(
                "A text generator is exported as a SavedModel only; TFLite has no operators for its loop and most "
                f"tokenizers. Received: --formats={options.formats}"
            )
        if options.serving_dtype != "float32":
            raise ValueError(
                f"A text generator is exported in float32. Received: --serving_dtype={options.serving_dtype}"
            )
        report = export_generator(pipelines.load(options.run), out_dir, options.version)
    else:
        checks = _stored_checks(options.run)
        pipeline = pipelines.load(options.run)
        held_out, why_not = _held_out(options)
        report = export_pipeline(
            pipeline,
            out_dir,
            formats,
            options.version,
            checks=checks,
            serving=serving,
            precisions=[name.strip() for name in options.precisions.split(",") if name.strip()],
            held_out=held_out,
            speed=options.speed,
        )
    for entry in report["artefacts"]:
        if entry["path"] in report["written"]:
            size = f"{entry['bytes'] / 1e6:.1f} MB"
            print(f"{out_dir / entry['path']}  {size}  {_agreement(entry)}{_accuracy(entry)}")
    if why_not:
        print(f"accuracy was not measured: {why_not}", file=sys.stderr)


def _held_out(options: argparse.Namespace):
    """Returns the held-out texts, or None and the reason."""
    from .held_out import load_held_out

    if options.held_out == "0":
        return None, ""
    if options.held_out != "all" and not options.held_out.isdecimal():
        raise ValueError(f"--held_out must be a number of texts, or 'all'. Received: {options.held_out!r}")
    try:
        return load_held_out(options.run, None if options.held_out == "all" else int(options.held_out)), ""
    except (FileNotFoundError, ImportError) as error:
        return None, str(error)


def _stored_checks(run: pathlib.Path) -> list[tuple[str, list[float]]] | None:
    """Returns the check texts and the logits that were stored at training, so that damaged weights are noticed."""
    from keras_transformer.pipelines import check_texts

    folder = run if (run / "pipeline.json").is_file() else run / "model"
    path = folder / "check.jsonl"
    if not (folder / "pipeline.json").is_file():
        return None  # there is no pipeline at all, which loading says
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: without check texts an export cannot be verified.")
    try:
        checks = check_texts.read_check_texts(folder)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if not checks:
        raise ValueError(f"{path} is damaged: it holds no texts.")
    return checks


def _verify(path: pathlib.Path) -> None:
    from .verify import verify

    for entry in verify(path):
        print(f"{entry['path']}  {_agreement(entry)}")


def _accuracy(entry: dict) -> str:
    found = entry.get("held_out")
    if not found:
        return ""
    if found["lost"] is None:
        return f", RMSE {found['score']:.4g} on {found['texts']} held-out texts (Keras: {found['keras_score']:.4g})"
    return f", {found['score']:.2%} right on {found['texts']} held-out texts (Keras: {found['keras_score']:.2%})"


def _agreement(entry: dict) -> str:
    worst = max(entry["max_difference"].values())
    return f"verified on {entry['checks']} texts, largest difference {worst:.1e}"


if __name__ == "__main__":
    sys.exit(main())
