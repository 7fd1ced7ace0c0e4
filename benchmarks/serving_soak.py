"""A soak of a served model: many clients, texts of mixed lengths, no error, and memory that does not grow.

    python benchmarks/serving_soak.py --minutes=10 --output=benchmarks/results/serving_soak.json

The server is a stand-in (stand_in_server.py): Python around a session of TensorFlow, not the TensorFlow Serving binary.
Its throughput says little about the binary's; errors, mixed-up answers and leaks of the model itself show all the same.
"""

import argparse
import collections
import contextlib
import json
import os
import pathlib
import platform
import random
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

MODES = ("alone", "batching")
# Answers of a text alone and in a batch differ in the last digits.
SAME = 1e-4
# More growth than this after the first minute is a leak.
GROWTH = 0.03


def main():
    options = parse()
    with tempfile.TemporaryDirectory() as scratch:
        base, texts = options.model_base_path, options.texts and read_texts(options.texts)
        if base is None:
            base, texts = export_minilm(pathlib.Path(scratch), texts)
        texts = texts or mixed_texts()
        report = {
            "server": "stand-in (Python, gRPC), not the TensorFlow Serving binary",
            "model": options.name or ("MiniLM, random head" if options.model_base_path is None else base.name),
            "clients": options.clients,
            "minutes": options.minutes,
            "processors": os.cpu_count(),
            "machine": platform.processor() or platform.machine(),
            "load_before": os.getloadavg()[0],
            "words_of_the_texts": percentiles([len(text.split()) for text in texts], (0, 50, 90, 100)),
            "modes": {mode: soak(mode, base, texts, options) for mode in options.modes},
        }
    print(json.dumps(report, indent=2))
    if options.output:
        options.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    good = all(not found["errors"] and found["memory"]["flat"] for found in report["modes"].values())
    return 0 if good else 1


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--minutes", type=float, default=10.0, help="of each mode (default: %(default)s)")
    parser.add_argument("--clients", type=int, default=64, help="default: %(default)s")
    parser.add_argument(
        "--modes",
        type=lambda text: text.split(","),
        default=list(MODES),
        help="alone (every request by itself), batching, or both (default: both)",
    )
    parser.add_argument("--protocol", choices=("grpc", "rest"), default="grpc", help="default: %(default)s")
    parser.add_argument(
        "--model_base_path", type=pathlib.Path, help="folder of version folders; default: an export of MiniLM"
    )
    parser.add_argument("--name", help="what the report calls the model")
    parser.add_argument("--texts", type=pathlib.Path, help="a text in each line; default: reviews, or made ones")
    parser.add_argument("--output", type=pathlib.Path, help="file for the report")
    options = parser.parse_args()
    if not set(options.modes) <= set(MODES):
        parser.error(f"--modes must be some of {', '.join(MODES)}. Received: {','.join(options.modes)}")
    return options


def export_minilm(scratch, texts):
    """Exports MiniLM with a head that says something; returns the base path and reviews."""
    import keras

    from keras_transformer import data
    from keras_transformer.export import export_pipeline
    from keras_transformer.pipelines import TextPipeline

    keras.utils.set_random_seed(5)
    pipeline = TextPipeline.from_pretrained("minilm", max_length=256)
    pipeline.model.head.kernel.assign(keras.random.normal(pipeline.model.head.kernel.shape, seed=3))
    export_pipeline(pipeline, scratch / "export", ["saved_model"])
    return scratch / "export" / "saved_model", texts or list(data.load("imdb:package").test_raw.texts[:400])


def read_texts(path):
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def mixed_texts():
    """Texts of 1 to 300 words, most of them short."""
    rng, words = random.Random(1), "the film was good bad not it a great story and actor".split()
    return [" ".join(rng.choices(words, k=int(rng.paretovariate(0.6)) % 300 + 1)) for _ in range(200)]


def soak(mode, base, texts, options):
    """Runs one server under load; returns what was seen."""
    from keras_transformer.export import client

    with running_server(base, mode == "batching") as (process, ports):
        scheme = {"grpc": "grpc", "rest": "http"}[options.protocol]
        address = f"{scheme}://localhost:{ports[options.protocol]}"
        with client.connect(address, timeout=300, batch_size=1) as asked:
            expected = asked.predict(texts, "text_logits")["logits"]
        with client.connect(address, timeout=300) as asked:
            watch = Watch(asked, texts, expected, process.pid)
            watch.run(options.clients, options.minutes * 60)
    return watch.report()


@contextlib.contextmanager
def running_server(base, batching):
    command = [sys.executable, str(ROOT / "benchmarks" / "stand_in_server.py"), f"--model_base_path={base}"]
    command += ["--port=0", "--rest_api_port=0", *(["--batching"] if batching else [])]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"}
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    try:
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"The server did not start: {process.stderr.read()[-2000:]}")
        # Nobody reads what it says from here on, and a full pipe would stop it.
        threading.Thread(target=process.stderr.read, daemon=True).start()
        yield process, json.loads(line)
    finally:
        process.stdin.close()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Watch:
    """Clients that ask without a pause, and what they and the server's memory show."""

    def __init__(self, asked, texts, expected, pid):
        self.asked, self.texts, self.expected, self.pid = asked, texts, expected, pid
        self.latencies = []
        self.errors = collections.Counter()
        self.memory = []
        self.worst = 0.0

    def run(self, clients, seconds):
        self.started = time.monotonic()
        end = self.started + seconds
        threads = [threading.Thread(target=self.ask, args=(number, end)) for number in range(clients)]
        for thread in threads:
            thread.start()
        while time.monotonic() < end:
            self.memory.append((time.monotonic() - self.started, resident_megabytes(self.pid)))
            time.sleep(min(1.0, seconds / 20))
        for thread in threads:
            thread.join()
        self.seconds = time.monotonic() - self.started

    def ask(self, number, end):
        rng = random.Random(number)
        while time.monotonic() < end:
            # One text mostly, and now and then a few.
            chosen = rng.sample(range(len(self.texts)), rng.choice((1, 1, 1, 1, 2, 4)))
            start = time.monotonic()
            try:
                logits = self.asked.predict([self.texts[i] for i in chosen], "text_logits")["logits"]
            except Exception as error:
                self.errors[f"{type(error).__name__}: {error}"[:200]] += 1
                continue
            self.latencies.append((time.monotonic() - start, len(chosen)))
            difference = float(np.abs(logits - self.expected[chosen]).max())
            self.worst = max(self.worst, difference)
            if not difference <= SAME:
                self.errors["an answer that belongs to another text"] += 1

    def report(self):
        seconds = [latency for latency, _ in self.latencies]
        return {
            "requests": len(seconds),
            "errors": dict(self.errors),
            "largest_difference": self.worst,
            "requests_per_second": round(len(seconds) / self.seconds, 2),
            "texts_per_second": round(sum(count for _, count in self.latencies) / self.seconds, 2),
            "latency_ms": {
                name: round(1000 * value, 1) for name, value in percentiles(seconds, (50, 90, 99, 100)).items()
            },
            "memory": self.memory_report(),
        }

    def memory_report(self):
        """Resident memory after the first minute (a shorter run: the first third) and at the end."""
        duration = self.memory[-1][0]
        warm = min(60.0, duration / 3)
        window = (duration - warm) / 4
        early = [megabytes for at, megabytes in self.memory if warm <= at <= warm + window]
        late = [megabytes for at, megabytes in self.memory if at >= duration - window]
        growth = float(np.median(late) - np.median(early))
        return {
            "start_mb": round(self.memory[0][1], 1),
            "after_warm_up_mb": round(float(np.median(early)), 1),
            "end_mb": round(float(np.median(late)), 1),
            "most_mb": round(max(megabytes for _, megabytes in self.memory), 1),
            "growth": round(growth / float(np.median(early)), 4),
            "flat": growth <= GROWTH * float(np.median(early)),
        }


def percentiles(values, which):
    return {f"p{percent}": float(np.percentile(values, percent)) for percent in which} if values else {}


def resident_megabytes(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("The server has ended.")


if __name__ == "__main__":
    sys.exit(main())
