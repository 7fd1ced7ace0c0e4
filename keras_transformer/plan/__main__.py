"""`python -m keras_transformer.plan`: what a training will need, on the terminal and as JSON."""

import argparse
import dataclasses
import json
import os
import pathlib
import sys
from collections.abc import Sequence

from keras_transformer._command import one_line, quiet_tensorflow

SIZES = (
    "hidden_dim",
    "num_layers",
    "num_heads",
    "num_key_value_heads",
    "intermediate_dim",
    "vocabulary_size",
    "max_length",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: Words after the program's name; None takes those of the process.

    Returns:
        Exit status: 0, or 1 after an error, which is told in one line.
    """
    options = _parser().parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with quiet_tensorflow():
            import keras  # noqa: F401 - loads the backend
        _run(options)
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m keras_transformer.plan",
        description="Say what a training will need before it is paid for: parameters, FLOPs, memory, time and cost.",
        allow_abbrev=False,
    )
    model = parser.add_argument_group("model")
    model.add_argument("--model", metavar="NAME", help="minilm, a preset, or a folder with a config.json")
    model.add_argument("--kind", metavar="KIND", help="encoder (default), decoder or encoder_decoder, without --model")
    for name in SIZES:
        model.add_argument(f"--{name}", type=int, metavar="N", help="instead of the model's")
    model.add_argument("--position", metavar="SCHEME", help="position scheme instead of the model's")
    model.add_argument("--outputs", type=int, default=2, metavar="N", help="classes of an encoder (default: 2)")
    model.add_argument("--pooling", default="mean", metavar="HOW", help="of an encoder: mean (default), or first token")

    step = parser.add_argument_group("step")
    step.add_argument("--batch", type=int, metavar="N", help="texts in a step of one machine")
    step.add_argument("--length", type=int, default=128, metavar="N", help="tokens in each (default: %(default)s)")
    step.add_argument("--target_length", type=int, metavar="N", help="tokens that a decoder predicts (default: length)")
    step.add_argument("--tokens_per_step", type=int, metavar="N", help="instead of --batch, of one machine")
    step.add_argument(
        "--product_dtype",
        default="auto",
        metavar="DTYPE",
        help="of matrix products: float32, bfloat16, or auto for what is faster on the machine (default)",
    )
    step.add_argument("--recompute", action="store_true", help="blocks are computed a second time instead of kept")
    step.add_argument("--optimizer", default="adamw", metavar="NAME", help="adamw (default, with clipping) or sgd")

    machine = parser.add_argument_group("machine")
    machine.add_argument(
        "--machine",
        default="here",
        metavar="NAME",
        help="here (measured now, about 20 s), the name of a measured one, or a JSON file (default: %(default)s)",
    )
    machine.add_argument("--save_machine", type=pathlib.Path, metavar="FILE", help="write what was measured")
    machine.add_argument("--machines", type=int, default=1, metavar="N", help="that train together (default: 1)")
    machine.add_argument("--network", type=float, metavar="GB/S", help="bandwidth between them, in each direction")
    machine.add_argument("--price", type=float, metavar="X", help="of a machine for an hour, in any currency")

    whole = parser.add_argument_group("the whole training: one of")
    whole.add_argument("--tokens", type=float, metavar="N", help="tokens in all")
    whole.add_argument("--examples", type=int, metavar="N", help="texts in an epoch")
    whole.add_argument("--epochs", type=float, metavar="N", help="of the examples (default: 1)")
    whole.add_argument("--hours", type=float, metavar="N", help="what fits into so many hours")
    whole.add_argument("--budget", type=float, metavar="X", help="what can be had for that; needs --price")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write all figures")
    return parser


def _run(options: argparse.Namespace) -> None:
    batch = _batch(options)
    _check_whole(options)
    from keras_transformer import _files
    from keras_transformer.plan import planning, report, sources

    sizes = {name: getattr(options, name) for name in (*SIZES, "position")}
    config = sources.find(options.model, options.kind, sizes)
    machine = _machine(options)

    def plan(tokens: int | None) -> planning.Plan:
        return planning.training(
            config,
            batch,
            options.length,
            machine,
            target_length=options.target_length,
            machines=options.machines,
            product_dtype=options.product_dtype,
            recompute=options.recompute or None,
            optimizer=options.optimizer,
            outputs=options.outputs,
            pooling=options.pooling,
            tokens=tokens,
        )

    planned = plan(_tokens(options, batch))
    hours = options.hours
    if options.budget is not None:
        hours = options.budget / (machine.price * options.machines)
    if hours is not None:
        planned = plan(max(1, int(3600 * hours * planned.tokens_per_second)))
    print(report.table(planned))
    if options.json is not None:
        _files.write_bytes(options.json, (json.dumps(planned.to_dict(), indent=1) + "\n").encode())


def _batch(options: argparse.Namespace) -> int:
    if (options.batch is None) == (options.tokens_per_step is None):
        raise ValueError(
            "Give --batch or --tokens_per_step. "
            f"Received: --batch={options.batch}, --tokens_per_step={options.tokens_per_step}"
        )
    if options.length < 1:
        raise ValueError(f"--length must be above 0. Received: {options.length}")
    if options.batch is not None:
        return options.batch
    if options.tokens_per_step < options.length:
        raise ValueError(
            "A step must hold a text: --tokens_per_step must be at least --length. "
            f"Received: {options.tokens_per_step} and {options.length}"
        )
    return options.tokens_per_step // options.length


def _check_whole(options: argparse.Namespace) -> None:
    names = ("tokens", "examples", "hours", "budget")
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    if len(given) > 1:
        raise ValueError(f"Give one of --tokens, --examples, --hours, --budget. Received: {', '.join(given)}")
    for name, value in (given | ({"epochs": options.epochs} if options.epochs is not None else {})).items():
        if not 0 < value < float("inf"):
            raise ValueError(f"--{name} must be above 0. Received: {value}")
    if options.epochs is not None and options.examples is None:
        raise ValueError(f"--epochs needs --examples. Received: --epochs={options.epochs}")
    for name in ("network", "price"):
        value = getattr(options, name)
        if value is not None and not 0 <= value < float("inf"):
            raise ValueError(f"--{name} must be at least 0. Received: {value}")
    if options.network == 0:
        raise ValueError("--network must be above 0. Received: 0.0")
    if options.save_machine is not None and options.machine != "here":
        raise ValueError(f"--save_machine keeps what --machine=here measures. Received: --machine={options.machine}")
    if options.save_machine is not None and not options.save_machine.parent.is_dir():
        raise ValueError(f"There is no folder for --save_machine. Received: {options.save_machine}")
    if options.json is not None and not options.json.parent.is_dir():
        raise ValueError(f"There is no folder for --json. Received: {options.json}")


def _machine(options: argparse.Namespace):
    from keras_transformer.plan import calibration
    from keras_transformer.plan import machine as machines

    found = calibration.calibrate() if options.machine == "here" else machines.load(options.machine)
    if options.save_machine is not None:
        found.save(options.save_machine)
    changes = {}
    if options.network is not None:
        changes["network"] = options.network * 1e9
    if options.price is not None:
        changes["price"] = options.price
    found = dataclasses.replace(found, **changes)
    if options.budget is not None and not found.price:
        raise ValueError(f"--budget needs the price of an hour above 0: --price. Received: {found.price}")
    return found


def _tokens(options: argparse.Namespace, batch: int) -> int | None:
    if options.tokens is not None:
        return max(1, int(options.tokens))
    if options.examples is not None:
        return max(1, int(options.examples * (options.epochs or 1) * options.length))
    return None


if __name__ == "__main__":
    sys.exit(main())
