"""The servers under test as processes: `saccade serve`, one that leaks on purpose, and peers."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.serving.client import Target


@dataclass(frozen=True)
class Running:
    """A server that answers."""

    process: subprocess.Popen[str]
    target: Target
    root: str = ""  # of its addresses
    load_seconds: float = 0.0  # from its start to its first answer


@contextmanager
def saccade_server(
    model: Path, options: Sequence[str] = (), *, threads: int = 1, leaky: bool = False
) -> Iterator[Running]:
    """A `saccade serve` of one model called "model"; `leaky`: one that keeps every request."""
    module = "benchmarks.serving.leaky" if leaky else "saccade"
    command = [sys.executable, "-m", module, "serve", f"model={model}", "--port", "0", *options]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    start = time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as process:
        try:
            assert process.stdout is not None
            match = re.match(r"http://\S+/", process.stdout.readline())
            assert match is not None, "the server did not start"
            wait_until(match[0] + "ready")
            loaded = time.perf_counter() - start
            yield Running(process, Target(f"{match[0]}v1/models/model:predict"), match[0], loaded)
        finally:
            process.terminate()
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def peer_server(name: str, python: str, model: Path, *, threads: int) -> Iterator[Running]:
    """A peer with the same model, in an interpreter of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [python, str(Path(__file__).with_name("peers.py")), name, str(model), str(port)]
    root = Path(__file__).parents[2]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "PYTHONPATH": str(root),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    environment |= {"BENTOML_DO_NOT_TRACK": "True", "RAY_DEDUP_LOGS": "0"}
    start = time.perf_counter()
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
        start_new_session=True,
    )
    try:
        encoding = {"litserve": "json", "bentoml": "list"}.get(name, "bytes")
        target = Target(f"http://127.0.0.1:{port}/predict", encoding)
        path = {"litserve": "health", "bentoml": "readyz", "ray": "-/healthz"}[name]
        wait_until(f"http://127.0.0.1:{port}/{path}", process=process)
        yield Running(process, target, load_seconds=time.perf_counter() - start)
    finally:
        os.killpg(process.pid, 15)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)


def wait_until(url: str, seconds: float = 180, process: "subprocess.Popen[str] | None" = None) -> None:
    """Until an address answers 200.

    Raises:
        TimeoutError: it does not.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and (process is None or process.poll() is None):
        try:
            if httpx.get(url, timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    raise TimeoutError(f"{url} does not answer")


def workers_of(process: int) -> set[int]:
    """The workers of a process, without the helper of multiprocessing."""
    text = Path(f"/proc/{process}/task/{process}/children").read_text()
    return {int(n) for n in text.split() if b"spawn_main" in Path(f"/proc/{n}/cmdline").read_bytes()}


def memory_of(process: int) -> float:
    """Resident memory in MB."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def handles_of(process: int) -> tuple[int, int]:
    """(Open files, threads)."""
    return len(os.listdir(f"/proc/{process}/fd")), len(os.listdir(f"/proc/{process}/task"))
