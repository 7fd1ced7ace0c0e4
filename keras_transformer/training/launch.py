"""Several workers on this machine, from one command; what a cluster's scheduler does elsewhere."""

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence

logger = logging.getLogger(__name__)

IS_LOCAL_WORKER = "KERAS_TRANSFORMER_LOCAL_WORKER"
"""Environment variable that tells a process that it was started by `launch`."""

_GRACE = 5.0  # seconds that the others have to end when one has failed
_POLL = 0.1


def launch(command: Sequence[str], workers: int, restarts: int = 3, threads: int | None = None) -> int:
    """Runs a command as so many workers, and all of them again if one is killed.

    Each gets TF_CONFIG with addresses of this machine. The chief writes to this terminal; the lines of the others begin
    with "[worker 1]". SIGINT and SIGTERM are handed on.

    Args:
        command: str of the program and its arguments.
        workers: int, at least 1.
        restarts: int, how often all are started again after one was killed. Default 3.
        threads: int or None, processor cores for each worker. Default: an equal part of those there are.

    Returns:
        0 if all ended well, else the exit status of the first that did not; 130 after a signal.

    Raises:
        ValueError: If a number is out of range.
    """
    if workers < 1 or restarts < 0:
        raise ValueError(f"There must be 1 worker or more, and 0 restarts or more. Received: {workers}, {restarts}")
    cores = len(os.sched_getaffinity(0))
    threads = threads or max(1, cores // workers)
    for attempt in range(restarts + 1):
        with _Workers(command, workers, threads) as processes:
            status = processes.wait()
        if status >= 0 or processes.signalled:
            return status
        if attempt < restarts:
            name = signal.Signals(-status).name
            logger.warning("a worker was killed (%s); all start again, %d of %d", name, attempt + 1, restarts)
    return 128 - status


class _Workers:
    """The processes of one attempt."""

    def __init__(self, command: Sequence[str], count: int, threads: int) -> None:
        self.signalled = False
        self.processes: list[subprocess.Popen] = []
        self._command = list(command)
        self._count = count
        self._threads = str(threads)
        self._old: dict[int, object] = {}
        self._readers: list[threading.Thread] = []

    def _start(self, addresses: list[str], index: int) -> subprocess.Popen:
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        process = subprocess.Popen(
            self._command,
            env={
                **os.environ,
                IS_LOCAL_WORKER: str(index),
                "TF_CONFIG": json.dumps(config),
                "TF_NUM_INTRAOP_THREADS": self._threads,
                "OMP_NUM_THREADS": self._threads,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if index else None,
            stderr=subprocess.STDOUT if index else None,
            start_new_session=True,  # a Ctrl-C reaches them once: from here
        )
        if index:
            reader = threading.Thread(target=_prefixed, args=(process.stdout, f"[worker {index}] "), daemon=True)
            reader.start()
            self._readers.append(reader)
        return process

    def __enter__(self) -> "_Workers":
        if threading.current_thread() is threading.main_thread():
            self._old = {number: signal.signal(number, self._hand_on) for number in (signal.SIGINT, signal.SIGTERM)}
        # After the handlers: whatever comes now reaches those that are there already.
        addresses = [f"localhost:{port}" for port in free_ports(self._count)]
        for index in range(self._count):
            self.processes.append(self._start(addresses, index))
        return self

    def __exit__(self, *exception: object) -> None:
        self._end()
        for reader in self._readers:
            reader.join(timeout=5)
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _hand_on(self, number: int, frame: object) -> None:
        self.signalled = True
        for process in self._running():
            process.send_signal(number)

    def _running(self) -> Iterator[subprocess.Popen]:
        return (process for process in self.processes if process.poll() is None)

    def wait(self) -> int:
        """Returns the exit status: of the first to fail, where one was killed that one's, or 0."""
        while True:
            codes = [process.poll() for process in self.processes]
            failed = [code for code in codes if code]
            if failed and not self.signalled:
                # One that was killed pulls the others down: it is the cause, whoever ended first.
                return next((code for code in failed if code < 0), failed[0])
            if None not in codes:
                return 130 if self.signalled else 0
            time.sleep(_POLL)

    def _end(self) -> None:
        """Ends those that still run, which cannot go on without the others."""
        for process in self._running():
            process.terminate()
        deadline = time.monotonic() + _GRACE
        while any(True for _ in self._running()) and time.monotonic() < deadline:
            time.sleep(_POLL)
        for process in self._running():
            process.kill()
        for process in self.processes:
            process.wait()


def free_ports(count: int) -> list[int]:
    """Returns ports of this machine that nobody listens at."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("", 0))) for _ in range(count)]
        return [entry.getsockname()[1] for entry in sockets]


def _prefixed(stream, prefix: str) -> None:
    for line in stream:
        sys.stderr.write(prefix + line.decode(errors="replace"))
        sys.stderr.flush()
