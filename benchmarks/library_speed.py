"""Speed of a forward pass and of a training step beside keras-hub, Hugging Face transformers and torch.nn, on the CPU.

    python benchmarks/library_speed.py --rounds=3
    python benchmarks/library_speed.py --cases='bert-base/*' --contestants='ours*,hugging_face'

Cases are `size/kind/length`: MiniLM, BERT-base and GPT-2-small, forward and training, 128 and 512 tokens. All have the
same shapes and the same padded batch; GPT-2 gives logits at every place. A training step is forward, backward and
plain SGD, with dropout 0.1. The contestants of a size live in processes side by side and compute in turn. The finished
rounds are kept in the result file, so that the command goes on after an interruption.
"""

import statistics

import libraries
import rounds

LENGTHS = (128, 512)
SMOKE_LENGTHS = (16, 32)
CALLS = 2


def cases(smoke: bool) -> dict[str, list[str]]:
    """Returns the cases of each size."""
    lengths = SMOKE_LENGTHS if smoke else LENGTHS
    return {
        name: [f"{name}/{kind}/{length}" for kind in ("forward", "training") for length in lengths]
        for name in libraries.SIZES
    }


def prepare(contestant: str, size: libraries.Size):
    """Returns what a process of a contestant does with a case."""
    built = libraries.CONTESTANTS[contestant](size)

    def prepare_case(case: str):
        _, kind, length = case.split("/")
        batch = libraries.Batch.draw(size, max(1, size.tokens // int(length)), int(length))
        return rounds.timed(built.forward(batch) if kind == "forward" else built.training_step(batch))

    return prepare_case


def summarise(kept: rounds.Rounds, sizes: dict[str, libraries.Size]) -> dict:
    """Returns, for each case, the tokens per second and how many times our seconds each contestant takes."""
    summary = {}
    for case in kept.result["rounds"]:
        tokens = sizes[case.split("/")[0]].tokens
        summary[case] = {
            "tokens_per_second": {
                name: round(tokens / statistics.median(kept.figures(case, name, "seconds")))
                for name in kept.names(case)
            },
            "times_our_seconds": kept.ratios(case),
        }
    return summary


def main() -> None:
    parser = rounds.parser(__doc__, "library_speed.json", rounds=3)
    parser.add_argument("--size", choices=libraries.SIZES, help="of --contestant")
    options = parser.parse_args()
    sizes = {name: size.tiny() if options.smoke else size for name, size in libraries.SIZES.items()}
    if options.contestant:
        if options.contestant.startswith(("hugging_face", "torch")):
            libraries.set_threads()
        rounds.serve(prepare(options.contestant, sizes[options.size]))
        return
    groups = cases(options.smoke)
    wanted = rounds.chosen([case for group in groups.values() for case in group], options.cases)
    names = rounds.chosen(list(libraries.CONTESTANTS), options.contestants)
    settings = rounds.machine() | {"tokens_per_call": {name: size.tokens for name, size in sizes.items()}}
    kept = rounds.Rounds(options.output, settings | {"optimizer": "SGD", "dropout": 0.1, "calls": CALLS})

    def contestants(case: str) -> list[str]:
        causal = sizes[case.split("/")[0]].causal
        return [name for name in names if not (causal and name == "torch_nn")]

    def start(size: str, name: str) -> rounds.Contestant:
        smoke = ["--smoke"] if options.smoke else []
        return rounds.Contestant([__file__, f"--contestant={name}", f"--size={size}", *smoke])

    groups = {name: [case for case in group if case in wanted] for name, group in groups.items()}
    rounds.run(kept, options.rounds, groups, contestants, start, calls=CALLS)
    kept.result["summary"] = summarise(kept, sizes)
    kept.save()
    for case, figures in kept.result["summary"].items():
        shown = {name: ratio["median"] for name, ratio in figures["times_our_seconds"].items()}
        print(f"{case:28s} times our seconds: {shown}")


if __name__ == "__main__":
    main()
