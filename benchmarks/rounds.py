"""Contestants side by side: each in a process of its own, one at a time, in turn; finished rounds survive a stop.

A script is called in two ways. By a person: it starts one process for each contestant and asks them, round by round, to
measure each case, so that a slow minute of the machine hits all of them. By itself, with `--contestant=NAME`: it
answers those questions, one line of JSON each.
"""

import argparse
import fnmatch
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def parser(description: str, output: str, rounds: int) -> argparse.ArgumentParser:
    """Returns the arguments that every benchmark has."""
    arguments = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=rounds, help=f"rounds (default {rounds})")
    arguments.add_argument("--contestants", default="*", help="names or patterns, with commas")
    arguments.add_argument("--cases", default="*", help="names or patterns, with commas")
    arguments.add_argument("--smoke", action="store_true", help="tiny sizes: only to see that it works")
    arguments.add_argument("--output", type=pathlib.Path, default=RESULTS / output, help="result file")
    arguments.add_argument("--contestant", help=argparse.SUPPRESS)
    return arguments


def chosen(names: Sequence[str], patterns: str) -> list[str]:
    """Returns the names that match one of the patterns; exits if a pattern matches none."""
    wanted = patterns.split(",")
    unknown = [pattern for pattern in wanted if not fnmatch.filter(names, pattern)]
    if unknown:
        sys.exit(f"Choose among {', '.join(names)}. Received: {', '.join(unknown)}")
    return [name for name in names if any(fnmatch.fnmatch(name, pattern) for pattern in wanted)]


def machine() -> dict:
    """Returns the processor's name and the number of its cores."""
    path = pathlib.Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    return {"processor": name, "cores": os.cpu_count()}


def serve(prepare: Callable[[str], Callable[[int], dict]]) -> None:
    """Answers the questions of the parent; what libraries print goes to the error output.

    Args:
        prepare: Takes the name of a case and returns a function from a number of calls to what was measured. Only the
            latest case is kept.
    """
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    case, measure = None, None
    for line in sys.stdin:
        question = json.loads(line)
        if question["case"] != case:
            measure = None
            case, measure = question["case"], prepare(question["case"])
        print(json.dumps(measure(question["calls"])), file=channel, flush=True)


def timed(call: Callable[[], object], warm_up: int = 1) -> Callable[[int], dict]:
    """Returns what `serve` needs of a function: its first call is timed apart, `warm_up` more are not counted."""
    started = time.perf_counter()
    call()
    first = time.perf_counter() - started
    for _ in range(warm_up):
        call()

    def measure(calls: int) -> dict:
        seconds = []
        for _ in range(calls):
            started = time.perf_counter()
            call()
            seconds.append(round(time.perf_counter() - started, 4))
        return {"seconds": min(seconds), "all_seconds": seconds, "first_seconds": round(first, 2)}

    return measure


class Contestant:
    """A process that measures on request.

    Args:
        command: Arguments of the script, after the interpreter.
        python: Interpreter.
        environment: Variables of its environment besides those of the parent.
    """

    def __init__(self, command: Sequence[str], python: str = sys.executable, environment: Mapping[str, str] = ()):
        threads = str(os.cpu_count())
        variables = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
        self._errors = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            [python, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=os.environ
            | dict.fromkeys(variables, threads)
            | {"TF_CPP_MIN_LOG_LEVEL": "3", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
            | {"PYTHONPATH": str(ROOT), "KERAS_BACKEND": "tensorflow"}
            | dict(environment),
        )

    def measure(self, case: str, calls: int) -> dict:
        """Returns what it measured; exits with its errors if it failed."""
        answer = ""
        try:
            print(json.dumps({"case": case, "calls": calls}), file=self._process.stdin, flush=True)
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            pass
        if not answer:
            self._process.wait()
            self._errors.seek(0)
            sys.exit(f"{' '.join(self._process.args)} failed at {case}:\n{self._errors.read()[-3000:]}")
        return json.loads(answer)

    def close(self) -> None:
        """Ends the process."""
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._errors.close()


class Rounds:
    """The result file: settings, and for each case a list of rounds, each a dict from contestants to measurements.

    Args:
        output: Where it is kept. What is there already counts; other settings than these are refused.
        settings: What must be equal for rounds to be comparable.
    """

    def __init__(self, output: pathlib.Path, settings: Mapping):
        self._output = output
        self.result = {"settings": dict(settings), "rounds": {}}
        if output.is_file():
            before = json.loads(output.read_text(encoding="utf-8"))
            if before["settings"] != self.result["settings"]:
                sys.exit(
                    f"{output} holds rounds of other settings: remove it or pass another --output. "
                    f"Received: {self.result['settings']} instead of {before['settings']}"
                )
            self.result = before

    def missing(self, case: str, index: int, names: Sequence[str]) -> list[str]:
        """Returns the contestants that are to measure a case in a round: all, unless all of them have.

        A round that was interrupted starts anew: what was measured at another hour is not side by side.
        """
        rounds = self.result["rounds"].get(case, [])
        return [] if index < len(rounds) and all(name in rounds[index] for name in names) else list(names)

    def add(self, case: str, index: int, name: str, measured: dict) -> None:
        """Keeps one measurement."""
        rounds = self.result["rounds"].setdefault(case, [])
        rounds.extend({} for _ in range(index + 1 - len(rounds)))
        rounds[index][name] = measured
        self.save()

    def save(self) -> None:
        """Writes the file."""
        self._output.parent.mkdir(parents=True, exist_ok=True)
        self._output.write_text(json.dumps(self.result, indent=1) + "\n", encoding="utf-8")

    def figures(self, case: str, name: str, field: str, over: str | None = None) -> list[float]:
        """Returns what a contestant measured in each round, or how many times that of another in the same round.

        Args:
            case: Name of the case.
            name: Name of the contestant.
            field: Which of the figures.
            over: Name of the other contestant; rounds that one of the two missed do not count.
        """
        entries = [entry for entry in self.result["rounds"].get(case, []) if name in entry and (over or name) in entry]
        return [entry[name][field] / (entry[over][field] if over else 1) for entry in entries]

    def names(self, case: str) -> list[str]:
        """Returns the contestants that measured a case."""
        return sorted({name for entry in self.result["rounds"].get(case, []) for name in entry})

    def ratios(self, case: str, field: str = "seconds", base: str = "ours") -> dict[str, dict]:
        """Returns how many times the base's figure each contestant's is: median and range over the rounds."""
        found = {name: self.figures(case, name, field, over=base) for name in self.names(case)}
        return {
            name: {
                "median": round(statistics.median(values), 3),
                "least": round(min(values), 3),
                "most": round(max(values), 3),
                "rounds": len(values),
            }
            for name, values in found.items()
            if values
        }


def run(
    rounds: Rounds,
    count: int,
    groups: Mapping[str, Sequence[str]],
    contestants: Callable[[str], Sequence[str]],
    start: Callable[[str, str], Contestant],
    calls: int = 1,
    fresh: bool = False,
) -> None:
    """Measures what is missing.

    Args:
        rounds: What is there already, and where the rest goes.
        count: Number of rounds.
        groups: Cases of each group; processes live as long as a group.
        contestants: Takes a case and returns the names of the contestants.
        start: Takes a group and a contestant and starts it.
        calls: Number of calls in a measurement, of which the fastest counts.
        fresh: Whether every measurement has a new process.
    """
    for group, cases in groups.items():
        running: dict[str, Contestant] = {}
        for case in cases:
            for index in range(count):
                missing = rounds.missing(case, index, contestants(case))
                # The order turns, so that nobody always comes after the same one.
                for name in missing[index % len(missing) :] + missing[: index % len(missing)] if missing else ():
                    process = running.get(name) or start(group, name)
                    measured = process.measure(case, calls)
                    if fresh:
                        process.close()
                    else:
                        running[name] = process
                    rounds.add(case, index, name, measured)
                    shown = ", ".join(
                        f"{key}={value}" for key, value in measured.items() if not isinstance(value, list)
                    )
                    print(f"{case} round {index + 1}: {name:24s} {shown}", flush=True)
        for process in running.values():
            process.close()
