"""Time to tokenize raw reviews: ours beside Hugging Face's `encode_batch_fast`, on one thread and on all.

    python benchmarks/tokenization.py

The reviews are those of the IMDB training part as they come, markup included, cut to 512 tokens with the vocabulary of
MiniLM. Ours is `data.encode` without its cache: from a list of strings to one array of ids. Both must give equal ids.
The finished rounds are kept in the result file, so that the command goes on after an interruption.
"""

import os
import time

import rounds

LIMIT = 512
BATCH = 1000
CASES = {"one_thread": 1, "all_threads": os.cpu_count()}
CONTESTANTS = ("ours", "hugging_face")


def reviews(count: int) -> list[str]:
    """Returns the first texts of the training part."""
    from keras_transformer import data

    return data.load("imdb", keep_markup_fraction=1.0).train.texts[:count]


def prepare(contestant: str, count: int, threads: int):
    """Returns what measures a contestant."""
    import numpy as np

    from keras_transformer import data, pretrained

    folder, texts = pretrained.resolve("minilm"), reviews(count)
    if contestant == "ours":
        packer = pretrained.load_packer(folder, max_length=LIMIT)

        def encode(part: list[str]) -> np.ndarray:
            return data.encode(packer, part, BATCH, threads).values
    else:
        import tokenizers

        tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.enable_truncation(LIMIT)
        tokenizer.no_padding()

        def encode(part: list[str]) -> np.ndarray:
            batches = (part[start : start + BATCH] for start in range(0, len(part), BATCH))
            return np.concatenate([e.ids for batch in batches for e in tokenizer.encode_batch_fast(batch)])

    encode(texts[:BATCH])  # what is made at the first call

    def measure(calls: int) -> dict:
        seconds = []
        for _ in range(calls):
            started = time.perf_counter()
            ids = encode(texts)
            seconds.append(round(time.perf_counter() - started, 4))
        digest = int(np.dot(ids.astype(np.int64), np.arange(1, len(ids) + 1) % 65521) % (1 << 31))
        return {"seconds": min(seconds), "all_seconds": seconds, "tokens": len(ids), "digest": digest}

    return measure


def main() -> None:
    parser = rounds.parser(__doc__, "tokenization.json", rounds=5)
    parser.add_argument("--texts", type=int, default=5000, help="reviews (default 5000)")
    options = parser.parse_args()
    if options.smoke:
        options.texts = 40
    if options.contestant:
        rounds.serve(lambda case: prepare(options.contestant, options.texts, CASES[case]))
        return
    names = rounds.chosen(CONTESTANTS, options.contestants)
    kept = rounds.Rounds(options.output, {"texts": options.texts, "limit": LIMIT} | rounds.machine())

    def start(case: str, name: str) -> rounds.Contestant:
        several = CASES[case] > 1
        # Each text is one operation of ours, and several run side by side only with several threads of operations.
        environment = {} if several else {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
        environment |= {"TOKENIZERS_PARALLELISM": "true" if several else "false"}
        return rounds.Contestant(
            [__file__, f"--contestant={name}", f"--texts={options.texts}"], environment=environment
        )

    cases = rounds.chosen(list(CASES), options.cases)
    rounds.run(kept, options.rounds, {case: [case] for case in cases}, lambda _: names, start, calls=3)
    for case, entries in kept.result["rounds"].items():
        found = {(one["tokens"], one["digest"]) for entry in entries for one in entry.values()}
        if len(found) > 1:
            raise ValueError(f"{case}: the contestants give different ids. Received: {found}")
    kept.result["summary"] = {
        case: {
            "texts_per_second": {
                name: round(options.texts / min(kept.figures(case, name, "seconds")), 1) for name in kept.names(case)
            },
            "times_our_seconds": kept.ratios(case),
        }
        for case in kept.result["rounds"]
    }
    kept.save()
    for case, entry in kept.result["summary"].items():
        for name, ratio in entry["times_our_seconds"].items():
            speed = entry["texts_per_second"][name]
            print(f"{case:12s} {name:14s} {speed:8.0f} texts/s, {ratio['median']:.2f} times our seconds")


if __name__ == "__main__":
    main()
