"""Time and memory of learning a vocabulary over the size of the corpus: WordPiece, byte-level BPE, SentencePiece.

    python benchmarks/vocabulary_speed.py

16,000 tokens from generated text (`generated_text.py`), streamed from a file. Each measurement has a process of its
own; memory is the peak of what is resident while it learns, less what was resident before. SentencePiece (a unigram
model) works on at most 100,000 lines of 500 characters, 50 MB, where its memory ends to grow. The plot is drawn beside
the result file. Linux only.
"""

import pathlib
import tempfile
import time

import rounds

SIZE, SMOKE_SIZE = 16_000, 600
MEGABYTES, SMOKE_MEGABYTES = (5, 20, 80), (0.2, 0.4)
KINDS = ("wordpiece", "byte_level_bpe", "sentence_piece")
SHOWN = {"wordpiece": "WordPiece", "byte_level_bpe": "byte-level BPE", "sentence_piece": "SentencePiece unigram"}


def prepare(kind: str, size: int):
    """Returns what a process does with a case: it learns from so many megabytes."""
    from generated_text import GeneratedText

    from keras_transformer.plan.process import reset_peak, resident
    from keras_transformer.text import train_vocabulary

    def case(megabytes: str):
        def measure(_: int) -> dict:
            with tempfile.TemporaryDirectory() as folder:
                path = pathlib.Path(folder) / "text.txt"
                written = 0
                with path.open("w") as file:
                    for text in GeneratedText().documents():
                        written += file.write(f"{text}\n")
                        if written >= float(megabytes) * 1e6:
                            break
                train_vocabulary(kind, ["A first text, so that all libraries are loaded before."] * 9, 400, folder)
                reset_peak()
                before, started = resident(), time.perf_counter()
                with path.open() as lines:
                    tokenizer = train_vocabulary(kind, lines, size, folder)
                seconds = time.perf_counter() - started
            return {
                "seconds": round(seconds, 2),
                "megabytes_per_second": round(written / 1e6 / seconds, 3),
                "megabytes": round((resident("VmHWM") - before) / 1e6, 1),
                "tokens": tokenizer.vocabulary_size,
            }

        return measure

    return case


def draw(result: dict, path: pathlib.Path) -> None:
    """Writes the plot: throughput and memory over the size of the corpus."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "vocabulary_speed"  # the same file from the same figures
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 2, figsize=(10, 4))
    fields = {"megabytes_per_second": "MB of text a second", "megabytes": "peak memory, MB"}
    for axes, (field, title) in zip(panels, fields.items(), strict=True):
        for index, kind in enumerate(KINDS):
            found = [
                (float(case), entries[0][kind][field])
                for case, entries in result["rounds"].items()
                if kind in entries[0]
            ]
            if found:
                axes.plot(*zip(*found, strict=True), label=SHOWN[kind], color=f"C{index}", marker="os^"[index])
        axes.set(xlabel="corpus, MB", ylabel=title, xscale="log", ylim=(0, None))
        axes.grid(alpha=0.3)
        axes.legend()
    figure.suptitle(f"Learning {result['settings']['vocabulary_size']} tokens")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def main() -> None:
    options = rounds.parser(__doc__, "vocabulary_speed.json", rounds=1).parse_args()
    size = SMOKE_SIZE if options.smoke else SIZE
    if options.contestant:
        rounds.serve(prepare(options.contestant, size))
        return
    kept = rounds.Rounds(options.output, rounds.machine() | {"vocabulary_size": size})
    names = rounds.chosen(KINDS, options.contestants)
    cases = rounds.chosen([str(m) for m in (SMOKE_MEGABYTES if options.smoke else MEGABYTES)], options.cases)

    def start(_: str, kind: str) -> rounds.Contestant:
        return rounds.Contestant([__file__, f"--contestant={kind}", *(["--smoke"] if options.smoke else [])])

    rounds.run(kept, options.rounds, {"all": cases}, lambda _: names, start, fresh=True)
    kept.save()
    draw(kept.result, options.output.with_suffix(".svg"))


if __name__ == "__main__":
    main()
