"""The server's processes: what a signal, a killed worker and a killed parent leave behind."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from saccade.checkpoints.directory import save_model_dir
from saccade.cli.main import main
from saccade.cli.serve import named
from saccade.errors import ConfigError
from saccade.tasks.loading import predictor_of
from tests.serving.conftest import photograph, small_source

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen, str]]:
    """A `saccade serve` of the small model, and its address."""
    save_model_dir(folder / "insects", small_source())
    command = [sys.executable, "-m", "saccade", "serve", "insects", "--port", "0", *options]
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    assert process.stdout is not None
    try:
        match = re.match(r"(http://\S+/)  insects", process.stdout.readline())
        assert match is not None
        yield process, match[1]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def answer(url: str, seed: int) -> str:
    content = httpx.post(
        f"{url}v1/models/insects:predict", content=photograph(seed), headers={"content-type": "image/png"}, timeout=60
    )
    return content.json()["predictions"][0]["label"]


def wait_until_ready(url: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}ready", timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    raise TimeoutError("the server is not ready")


def children(process: int) -> set[int]:
    """The workers of a process: its children that have loaded a model, not the helper of multiprocessing."""
    text = Path(f"/proc/{process}/task/{process}/children").read_text()
    return {int(n) for n in text.split() if b"spawn_main" in Path(f"/proc/{n}/cmdline").read_bytes()}


def is_running(process: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@linux
def test_sigterm_answers_what_is_in_flight(tmp_path: Path) -> None:
    predictor = predictor_of(small_source())
    right = [predictor.predict(photograph(seed)).label for seed in range(16)]
    with serving(tmp_path, "--max-wait-ms", "3000", "--max-batch", "64") as (process, url):
        with ThreadPoolExecutor(16) as pool:
            answers = [pool.submit(answer, url, seed) for seed in range(16)]
            while 'saccade_queue{model="insects"} 16.0' not in httpx.get(f"{url}metrics").text:
                time.sleep(0.02)
            process.send_signal(signal.SIGTERM)
            assert [one.result() for one in answers] == right
        assert process.wait(20) == -signal.SIGTERM
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{url}live")


@linux
@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_none_outlives_the_parent(tmp_path: Path) -> None:
    with serving(tmp_path, "--workers", "2") as (process, url):
        wait_until_ready(url)
        deadline = time.monotonic() + 60
        while len(before := children(process.pid)) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        victim = min(before)
        os.kill(victim, signal.SIGKILL)
        while (now := children(process.pid)) == before or len(now) < 2:
            assert time.monotonic() < deadline + 30
            time.sleep(0.2)
        assert victim not in now
        wait_until_ready(url)
        assert answer(url, 1) == predictor_of(small_source()).predict(photograph(1)).label
        process.kill()
        process.wait()
        end = time.monotonic() + 30  # the new one may still import PyTorch
        while any(map(is_running, now)) and time.monotonic() < end:
            time.sleep(0.1)
        assert not any(map(is_running, now))


def test_names_in_addresses(tmp_path: Path) -> None:
    assert named(["runs/digits", "pets=runs/a b"]) == {"digits": "runs/digits", "pets": "runs/a b"}
    with pytest.raises(ConfigError, match="two models are called digits"):
        named(["runs/digits", "other/digits"])
    with pytest.raises(ConfigError, match="NAME=runs/a b"):
        named(["runs/a b"])


def test_an_address_that_is_taken_and_a_model_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["serve", str(tmp_path / "none"), "--port", "0"]) in (1, 2)
    assert main(["serve", "x", "--host", "0.0.0.0"]) == 2
    assert main(["serve", "x", "--port", "99999"]) == 2
    err = capsys.readouterr().err
    assert "give a --token-file" in err
    assert "choose another with --port" in err
