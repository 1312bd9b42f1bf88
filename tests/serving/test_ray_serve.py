"""The server as a Ray Serve deployment: a replica that is killed under load costs what it was doing, no more."""

import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from saccade.checkpoints.directory import save_model_dir
from saccade.errors import ConfigError
from saccade.serving.settings import ServerSettings
from saccade.tasks.loading import predictor_of
from tests.serving.conftest import photograph, small_source

pytestmark = pytest.mark.slow


def replicas() -> list[int]:
    """The processes of replicas on this machine."""
    numbers = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and (entry / "cmdline").read_bytes().startswith(b"ray::ServeReplica:saccade"):
                numbers.append(int(entry.name))
        except OSError:
            continue
    return numbers


def test_a_killed_replica_costs_only_what_was_in_flight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("grpc_reflection", reason="ray[serve] is not installed")
    from saccade.serving.ray_serve import deploy

    monkeypatch.setenv("PYTHONPATH", os.getcwd())
    save_model_dir(tmp_path / "insects", small_source())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    right = predictor_of(small_source()).predict(photograph(1)).label
    url, headers = f"http://127.0.0.1:{port}/v1/models/insects:predict", {"content-type": "image/png"}
    end = deploy(ServerSettings({"insects": str(tmp_path / "insects")}), port, 2, None)
    try:

        def ask(number: int) -> tuple[str, int]:
            """(Label, requests that were lost before)."""
            time.sleep(number * 0.01)
            for lost in range(20):
                try:
                    answer = httpx.post(url, content=photograph(1), headers=headers, timeout=60)
                except httpx.HTTPError:
                    continue
                if answer.status_code == 200:
                    return answer.json()["predictions"][0]["label"], lost
                time.sleep(0.2)
            raise AssertionError("no answer")

        assert ask(0) == (right, 0)
        before = replicas()
        assert len(before) == 2
        with ThreadPoolExecutor(4) as pool:
            answers = [pool.submit(ask, number) for number in range(200)]
            time.sleep(1)
            os.kill(before[0], signal.SIGKILL)
            outcomes = [answer.result() for answer in answers]
        assert {label for label, _ in outcomes} == {right}
        assert sum(lost > 0 for _, lost in outcomes) <= 4  # a request of each client at most
        deadline = time.monotonic() + 60
        while len(replicas()) < 2 or before[0] in replicas():
            assert time.monotonic() < deadline
            time.sleep(0.2)
    finally:
        end()


def test_without_ray_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    from saccade.serving import ray_serve

    monkeypatch.setattr(ray_serve, "ray_serve", ray_serve.Deferred("no_such_module"))
    with pytest.raises(ConfigError, match="extra `ray`"):
        ray_serve.deploy(ServerSettings({"a": "b"}), 8000, 1, None)
