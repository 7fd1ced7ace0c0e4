"""Scoring a file by Beam beside a plain Python loop over the same SavedModel.

    python benchmarks/scoring_speed.py --saved_model=runs/imdb/export/saved_model/1 --python=.venv-beam/bin/python

Contestants: `loop_32` and `loop_256`, twenty lines of Python that call the SavedModel with batches in the order of the
file; `beam`, our command on the direct runner; `beam_2`, the same with two worker processes. All of them read and write
JSON lines, in the environment of Beam, in turn. Each is timed as a whole process on eight reviews, which is
the start, once, and on many in each round; texts per second are those of the difference.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import rounds

CASES = ("start", "reviews")
LOOPS = {"loop_32": 32, "loop_256": 256}
WORKERS = {"beam": 1, "beam_2": 2}
START = 8
# One block must not be all the work of two workers.
BLOCK_BYTES = 64 * 1024


def measure(options, name: str, source: pathlib.Path) -> tuple[dict, dict[int, list[float]]]:
    """Runs a contestant on a file.

    Returns:
        Seconds, and the probabilities by id.
    """
    with tempfile.TemporaryDirectory() as scratch:
        target = pathlib.Path(scratch) / "scores"
        if name in LOOPS:
            program = [rounds.ROOT / "benchmarks" / "scoring_loop.py", options.saved_model, source, target, LOOPS[name]]
        else:
            flags = {"model": options.saved_model, "input": source, "output": target, "workers": WORKERS[name]}
            flags["block_bytes"] = BLOCK_BYTES
            words = [f"--{flag}={value}" for flag, value in flags.items()]
            program = ["-m", "keras_transformer.export.scoring", *words]
        started = time.perf_counter()
        done = subprocess.run(
            [options.python, *map(str, program)],
            env=os.environ | {"PYTHONPATH": str(rounds.ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"},
            capture_output=True,
            text=True,
        )
        seconds = time.perf_counter() - started
        if done.returncode:
            sys.exit(f"{name} failed:\n{done.stderr[-3000:]}")
        files = [target] if target.is_file() else sorted((target / "scores").glob("part-*"))
        scores = [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    return {"seconds": round(seconds, 3)}, {score["id"]: score["probabilities"] for score in scores}


def write(texts: list[str], path: pathlib.Path) -> None:
    """Writes texts as JSON lines."""
    lines = [json.dumps({"id": i, "text": text}, ensure_ascii=False) for i, text in enumerate(texts)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def summary(kept: rounds.Rounds, texts: int) -> dict:
    """Returns for each contestant the seconds of a start, texts per second, and those in relation to `loop_32`."""
    speeds = {}
    for name in (*LOOPS, *WORKERS):
        start, whole = kept.figures("start", name, "seconds"), kept.figures("reviews", name, "seconds")
        if start and whole:
            best = statistics.median(start)
            speeds[name] = [(texts - START) / (seconds - best) for seconds in whole], best
    found = {}
    for name, (values, best) in speeds.items():
        found[name] = {"start_seconds": round(best, 1), "texts_per_second": round(statistics.median(values), 2)}
        if "loop_32" in speeds:
            ratios = [value / base for value, base in zip(values, speeds["loop_32"][0], strict=True)]
            found[name]["times_loop_32"] = {
                "median": round(statistics.median(ratios), 3),
                "least": round(min(ratios), 3),
                "most": round(max(ratios), 3),
            }
    return found


def main() -> None:
    """Measures what is missing, and prints the summary."""
    parser = rounds.parser(__doc__, "scoring_speed.json", 3)
    parser.add_argument("--saved_model", type=pathlib.Path, required=True, help="version folder")
    parser.add_argument("--python", required=True, help="Python of the environment of Beam")
    parser.add_argument("--texts", type=int, default=300, help="real reviews (default: %(default)s)")
    options = parser.parse_args()
    from keras_transformer import data

    count = START + 40 if options.smoke else options.texts
    texts = data.load("imdb:package").test_raw.texts[:count]
    kept = rounds.Rounds(options.output, {"texts": count, "block_bytes": BLOCK_BYTES} | rounds.machine())
    names = rounds.chosen((*LOOPS, *WORKERS), options.contestants)
    with tempfile.TemporaryDirectory() as scratch:
        files = {case: pathlib.Path(scratch) / f"{case}.jsonl" for case in CASES}
        write(texts[:START], files["start"])
        write(texts, files["reviews"])
        expected: dict = {}
        measure(options, names[0], files["start"])  # the first process of all reads its libraries from the disk
        for index in range(options.rounds):
            for case in rounds.chosen(CASES, options.cases):
                if case == "start" and index > 0:
                    continue
                missing = kept.missing(case, index, names)
                for name in missing[index % len(missing) :] + missing[: index % len(missing)] if missing else ():
                    measured, scores = measure(options, name, files[case])
                    before = expected.setdefault(case, scores)
                    difference = max(float(np.abs(np.subtract(scores[i], before[i])).max()) for i in before)
                    if scores.keys() != before.keys() or difference > 1e-5:
                        sys.exit(f"{name} gives other scores than the one before it, by {difference}")
                    kept.add(case, index, name, measured)
                    print(f"{case} round {index + 1}: {name:10s} {measured['seconds']} s", flush=True)
    kept.result["summary"] = summary(kept, count)
    kept.save()
    for name, entry in kept.result["summary"].items():
        print(f"{name:10s} {entry}")


if __name__ == "__main__":
    main()
