"""Memory of preparing a corpus, by how much of it has been read: 2 GB of generated text, exact duplicates dropped.

    python benchmarks/corpus_memory.py

Documents of lognormal length, words by a Zipf law (`generated_text.py`), in .jsonl files in a folder that is removed at
the end; one document in thirty is a copy of an earlier one. Cleaning, deduplication, sentences and WordPiece are those
of `corpus.prepare`, in a process of its own, so that the memory is that of the preparation alone. It is read each time
another hundredth of the text has been. Linux only.
"""

import argparse
import collections
import itertools
import json
import pathlib
import tempfile
import time

import rounds

VOCABULARY = 8000
FILE_MEGABYTES = 50
# A copy is of one of the latest so many documents.
COPIES_OF, COPY_EVERY = 20_000, 30


def generate(folder: pathlib.Path, megabytes: float) -> dict:
    """Writes the corpus; returns how many documents and copies there are."""
    from generated_text import GeneratedText

    earlier: collections.deque[str] = collections.deque(maxlen=COPIES_OF)
    documents = copies = characters = 0
    file = None
    for text in GeneratedText().documents():
        if documents % COPY_EVERY == COPY_EVERY - 1:
            text = earlier[(documents * 7919) % len(earlier)]
            copies += 1
        else:
            earlier.append(text)
        if file is None or file.tell() > FILE_MEGABYTES * 1e6:
            if file is not None:
                file.close()
            file = (folder / f"{documents:09d}.jsonl").open("w", encoding="utf-8")
        file.write(json.dumps({"text": text}) + "\n")
        documents, characters = documents + 1, characters + len(text)
        if characters >= megabytes * 1e6:
            break
    file.close()
    return {"documents": documents, "copies": copies, "megabytes": characters / 1e6}


def measure(folder: pathlib.Path, megabytes: float, threads: int | None) -> dict:
    """Prepares the corpus; returns the resident memory on the way."""
    from keras_transformer import corpus
    from keras_transformer.plan.process import resident
    from keras_transformer.text import WordPieceTokenizer, train_wordpiece

    whole = corpus.open_corpus(folder / "text")
    first = (document.text for document in itertools.islice(whole, 2000))
    tokenizer = WordPieceTokenizer(train_wordpiece(first, VOCABULARY))
    points: list[dict] = []
    read, started = 0, time.perf_counter()

    def watched(part, counts):
        nonlocal read
        for text, origin in part(counts):
            read += len(text)
            percent = int(read / (megabytes * 1e4) + 1e-6)
            if not points or percent > points[-1]["percent"]:
                seconds = round(time.perf_counter() - started, 1)
                points.append({"percent": percent, "seconds": seconds, "megabytes": round(resident() / 1e6, 1)})
            yield text, origin

    parts = [lambda counts, part=part: watched(part, counts) for part in whole.parts]
    store = corpus.prepare(
        corpus.Corpus(whole.title, whole.fingerprint, parts), tokenizer, folder / "store", threads=threads
    )
    seconds = time.perf_counter() - started
    # A long document may pass a hundredth by.
    at = {
        percent: next(point["megabytes"] for point in points if point["percent"] >= percent)
        for percent in range(10, 101, 10)
    }
    after_tenth = [point["megabytes"] for point in points if point["percent"] >= 10]
    return {
        "resident_megabytes": {f"{percent}%": value for percent, value in at.items()},
        "growth_megabytes_from_10_to_100_percent": round(at[100] - at[10], 1),
        "most_growth_megabytes_after_10_percent": round(max(after_tenth) - at[10], 1),
        "at_the_end_megabytes": round(resident() / 1e6, 1),
        "peak_megabytes": round(resident("VmHWM") / 1e6, 1),
        "seconds": round(seconds, 1),
        "megabytes_per_second": round(megabytes / seconds, 2),
        "store": {
            "documents": store.num_documents,
            "sentences": store.num_sentences,
            "tokens": store.num_tokens,
            "duplicates": store.about["dropped"]["duplicates"],
        },
        "points": points,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=2000, help="size of the text (default 2000)")
    parser.add_argument("--threads", type=int, help="threads of the tokenizer (default: the cores)")
    parser.add_argument("--folder", help="where the temporary folder is made (default: the system's)")
    parser.add_argument("--smoke", action="store_true", help="a tiny size: only to see that it works")
    parser.add_argument("--output", type=pathlib.Path, default=rounds.RESULTS / "corpus_memory.json")
    parser.add_argument("--contestant", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contestant:
        folder, megabytes = pathlib.Path(options.folder), options.megabytes
        work = {
            "generate": lambda _: generate(folder / "text", megabytes),
            "measure": lambda _: measure(folder, megabytes, options.threads),
        }
        rounds.serve(work.get)
        return
    megabytes = 3.0 if options.smoke else options.megabytes
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="corpus_memory_") as folder:
        (pathlib.Path(folder) / "text").mkdir()

        def in_a_process(work: str, size: float) -> dict:
            command = [__file__, f"--contestant={work}", f"--megabytes={size}", f"--folder={folder}"]
            process = rounds.Contestant(command + ([f"--threads={options.threads}"] if options.threads else []))
            found = process.measure(work, 1)
            process.close()
            return found

        text = in_a_process("generate", megabytes)
        print(text, flush=True)
        result = {"settings": rounds.machine() | {"vocabulary_size": VOCABULARY, "threads": options.threads}}
        result |= {"text": text} | in_a_process("measure", text["megabytes"])
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({key: value for key, value in result.items() if key != "points"}, indent=1))


if __name__ == "__main__":
    main()
