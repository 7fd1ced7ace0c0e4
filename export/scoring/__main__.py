"""`python -m keras_transformer.export.scoring`: scores files of texts, each line once."""

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from keras_transformer._command import one_line

from ..loading import load_tensorflow
from .model import BATCH_SIZE
from .options import FORMATS, QUOTES, ScoringOptions
from .pipeline import RUNNERS, load_beam


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: Words after the program's name; None takes those of the process.

    Returns:
        Exit status: 0 if every line is scored or bad, 1 after an error, which is told in one line, 130 after Ctrl-C.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    beam_options: list[str] = []
    if "--" in words:
        place = words.index("--")
        words, beam_options = words[:place], words[place + 1 :]
    given = _parser().parse_args(words)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # Beam warns here of packages for Google's cloud, and prints an error before it raises it.
    level = logging.CRITICAL if given.runner == "direct" else logging.WARNING
    logging.basicConfig(level=level, format="%(levelname)s: %(message)s")
    from .run import score_files

    try:
        load_beam()
        load_tensorflow()
        options = ScoringOptions(
            text_field=given.text_field,
            id_field=given.id_field,
            keep_text=given.keep_text,
            format=given.format,
            quotes=given.quotes,
            block_bytes=given.block_bytes,
            max_line_bytes=given.max_line_bytes,
        )
        found = score_files(
            given.model,
            given.input,
            given.output,
            options,
            batch_size=given.batch_size,
            runner=given.runner,
            workers=given.workers,
            beam_options=beam_options,
        )
    except (KeyboardInterrupt, Exception) as error:  # Beam wraps what its workers raise in types of its own.
        if isinstance(error, KeyboardInterrupt) or str(error).startswith("KeyboardInterrupt"):
            print("stopped: the same command goes on", file=sys.stderr)
            return 128 + signal.SIGINT
        print(f"error: {_reason(error)}", file=sys.stderr)
        return 1
    _show(found)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m keras_transformer.export.scoring",
        description="Score every line of some files with a SavedModel by Apache Beam. Bad lines go to files of their "
        "own with the reason. After a stop or a kill the same command goes on, and no line is scored twice. Behind -- "
        "stand options of Beam and of its runner.",
        allow_abbrev=False,
    )
    default = ScoringOptions()
    parser.add_argument(
        "--model", required=True, metavar="DIR", help="version folder of a SavedModel that takes raw text"
    )
    parser.add_argument(
        "--input",
        required=True,
        action="append",
        metavar="FILES",
        help="file or pattern, in quotes; may be given several times: .jsonl, .csv, .tsv, .txt, and .gz of these",
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="folder to write to, or to go on with")
    parser.add_argument("--text_field", default=default.text_field, metavar="NAME", help="(default: %(default)s)")
    parser.add_argument(
        "--id_field", default=default.id_field, metavar="NAME", help="copied where there is one (default: %(default)s)"
    )
    parser.add_argument("--keep_text", action="store_true", help="repeat the text in the scores")
    parser.add_argument("--format", choices=FORMATS, help="of files whose name does not say it")
    parser.add_argument(
        "--quotes",
        choices=QUOTES,
        default=default.quotes,
        help="of tables: fields may be quoted, or quotes are plain characters (default: %(default)s)",
    )
    parser.add_argument(
        "--block_bytes",
        type=int,
        default=default.block_bytes,
        metavar="N",
        help="lines that are read and written together; a kill costs one block a worker (default: %(default)s)",
    )
    parser.add_argument(
        "--max_line_bytes",
        type=int,
        default=default.max_line_bytes,
        metavar="N",
        help="longer ones are bad (default: %(default)s)",
    )
    parser.add_argument(
        "--batch_size", type=int, default=BATCH_SIZE, metavar="N", help="texts in one call (default: %(default)s)"
    )
    parser.add_argument(
        "--runner", choices=("direct", *RUNNERS), default="direct", help="where it runs (default: %(default)s)"
    )
    parser.add_argument(
        "--workers", type=int, default=1, metavar="N", help="processes of the direct runner (default: %(default)s)"
    )
    return parser


def _show(found: dict[str, Any]) -> None:
    print(f"{found['lines']:,} lines in {found['files']} files: {found['scored']:,} scored, {found['bad']:,} bad")
    for reason, number in found["bad_by_reason"].items():
        print(f"  {reason}: {number:,}")
    if found["scored_now"]:
        print(
            f"{found['scored_now']:,} texts in {found['seconds']:.1f} s, {found['texts_per_second']:,.1f} texts/s, "
            "loading the model included"
        )
    else:
        print("nothing was left to do")


def _reason(error: BaseException) -> str:
    while error.__cause__ is not None and isinstance(error, RuntimeError):
        error = error.__cause__
    return one_line(error)


if __name__ == "__main__":
    sys.exit(main())
