"""The rows of the table: what is measured, the mark, and whether it holds. L and H are the numbers of the reliability
tests: load, and hostile clients."""

import asyncio
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx

import saccade
from benchmarks.serving.client import BINARY, Outcomes, burst, closed_loop, mixed, open_loop
from benchmarks.serving.servers import Running, handles_of, memory_of, saccade_server, workers_of

BATCH = 8  # the server's default


@dataclass(frozen=True)
class Row:
    """One measure.

    Attributes:
        name: such as "L1 throughput".
        value: for people.
        mark: what has to hold.
        holds: whether it does.
    """

    name: str
    value: str
    mark: str
    holds: bool

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Setting:
    """What every row needs.

    Attributes:
        model: directory of the model.
        images: JPEGs.
        seconds: of each phase of load.
        threads: of PyTorch, in the server and in the predictor.
        requests: of the row about memory.
    """

    model: Path
    images: list[bytes]
    seconds: float
    threads: int
    requests: int


def load_rows(setting: Setting) -> list[Row]:
    """L1 to L4: throughput, overhead, waiting, and twice the load."""
    images, seconds = setting.images, setting.seconds
    offline, alone = offline_speed(setting)
    with saccade_server(setting.model, threads=setting.threads) as server:
        asyncio.run(closed_loop(server.target, images, min(3, seconds), 8))
        one = asyncio.run(closed_loop(server.target, images, seconds, 1))
        top = len(asyncio.run(closed_loop(server.target, images, seconds, 2 * BATCH)).milliseconds()) / seconds
        busy = asyncio.run(open_loop(server.target, images, seconds, 0.7 * top))
        over = asyncio.run(open_loop(server.target, images, seconds, 2 * top))
    goodput, others = len(over.milliseconds()) / seconds / top, set(over.statuses()) - {200, 503}
    longest = 1000 * (64 + 2 * BATCH) / top + 2
    overhead, p50, p99 = one.quantile(50) - alone, busy.quantile(50), busy.quantile(99)
    errors = len(busy.rows) - len(busy.milliseconds())
    refused = over.quantile(99, 503)
    return [
        Row(
            "L1 throughput",
            f"{top:.1f} images/s, {top / offline:.2f} of predict's {offline:.1f}",
            "≥ 0.90",
            top >= 0.9 * offline,
        ),
        Row(
            "L2 overhead of a single client, p50",
            f"{overhead:.1f} ms over predict's {alone:.1f} ms",
            "≤ 5 ms",
            overhead <= 5,
        ),
        Row(
            "L3 p99 at 70 % of the throughput",
            f"{p99:.0f} ms, {p99 / p50:.1f} × p50; {errors} errors of {len(busy.rows)}",
            "≤ 4 × p50, no errors",
            p99 <= 4 * p50 and not errors,
        ),
        Row(
            "L4 goodput at twice the throughput",
            f"{goodput:.2f}; others {sorted(others) or 'none'}",
            "≥ 0.90",
            goodput >= 0.9 and not others,
        ),
        Row(
            "L4 refusals, p99",
            f"{refused:.0f} ms of {len(over.milliseconds(503))}",
            "503 within 100 ms",
            refused <= 100,
        ),
        Row(
            "L4 accepted, p99",
            f"{over.quantile(99):.0f} ms",
            f"≤ queue + 2 batches = {longest:.0f} ms",
            over.quantile(99) <= longest,
        ),
    ]


def offline_speed(setting: Setting) -> tuple[float, float]:
    """(Images a second of a predictor in batches, milliseconds of one image)."""
    predictor = saccade.load(setting.model)
    predictor.predict(setting.images, batch_size=BATCH)
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < setting.seconds:
        predictor.predict(setting.images[:BATCH], batch_size=BATCH)
        count += BATCH
    speed = count / (time.perf_counter() - start)
    times = []
    for image in setting.images * 2:
        start = time.perf_counter()
        predictor.predict(image)
        times.append(1000 * (time.perf_counter() - start))
    return speed, sorted(times)[len(times) // 2]


def queue_rows(setting: Setting) -> list[Row]:
    """L4 and L5: exactly the surplus is refused; L8: nobody's work is not done."""
    held = ("--max-queue", "32", "--max-batch", "1000", "--max-wait-ms", "4000")
    with saccade_server(setting.model, held, threads=setting.threads) as server:
        full = burst(server.target, setting.images, 40)
        gone = skipped_of(server, setting.images[0])
        late = burst_with(server, setting.images[0], {"x-timeout-ms": "300"})
    options = ("--max-queue", "16", "--timeout", "5")
    with saccade_server(setting.model, options, threads=setting.threads) as server:
        burst(server.target, setting.images, 8)
        hundred = burst(server.target, setting.images, 100)
    refused = hundred.quantile(99, 503)
    statuses = full.statuses()
    return [
        Row(
            "L4 queue of 32, 40 at once",
            f"{statuses[503]} refused, {statuses[200]} answered",
            "8 refused",
            statuses == {503: 8, 200: 32},
        ),
        Row(
            "L5 queue of 16, 100 clients at once",
            f"{len(hundred.milliseconds(503))} refused, p99 {refused:.0f} ms",
            "< 100 ms",
            refused < 100,
        ),
        Row("L8 clients that left", f"{gone:.0f} of 4 inputs skipped", "all", gone == 4),
        Row(
            "L8 deadline of 300 ms",
            f"{late[0]} after {late[1]:.0f} ms",
            "504 within 400 ms",
            late[0] == 504 and late[1] < 400,
        ),
    ]


def skipped_of(server: Running, image: bytes) -> float:
    """How many inputs of four clients that close their connections are skipped."""
    host, port = httpx.URL(server.root).host, httpx.URL(server.root).port
    head = f"POST /v1/models/model:predict HTTP/1.1\r\nhost: {host}:{port}\r\ncontent-type: image/jpeg\r\n"
    for _ in range(4):
        with socket.create_connection((host, port or 80)) as connection:
            connection.sendall(f"{head}content-length: {len(image)}\r\n\r\n".encode() + image)
            time.sleep(0.3)
    return metric(server, 'saccade_skipped_total{model="model"}')


def metric(server: Running, name: str) -> float:
    text = httpx.get(f"{server.root}metrics").text
    return next(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))


def burst_with(server: Running, image: bytes, headers: dict[str, str]) -> tuple[int, float]:
    start = time.perf_counter()
    status = httpx.post(server.target.url, content=image, headers={**BINARY, **headers}, timeout=60).status_code
    return status, 1000 * (time.perf_counter() - start)


def stop_rows(setting: Setting) -> list[Row]:
    """L10: SIGTERM with 32 requests in flight."""
    right = [saccade.load(setting.model).predict(image).label for image in setting.images]
    options = ("--max-queue", "64", "--max-batch", "64", "--max-wait-ms", "4000")
    with saccade_server(setting.model, options, threads=setting.threads) as server, ThreadPoolExecutor(32) as pool:
        options_of = {"content-type": "image/jpeg"}
        answers = [
            pool.submit(
                httpx.post, server.target.url, content=setting.images[n % len(right)], headers=options_of, timeout=60
            )
            for n in range(32)
        ]
        while metric(server, 'saccade_queue{model="model"}') < 32:
            time.sleep(0.02)
        start = time.perf_counter()
        server.process.send_signal(signal.SIGTERM)
        labels = [answer.result().json()["predictions"][0]["label"] for answer in answers]
        code = server.process.wait(40)
        seconds = time.perf_counter() - start
    count = sum(label == right[n % len(right)] for n, label in enumerate(labels))
    return [
        Row(
            "L10 SIGTERM with 32 in flight",
            f"{count} right answers, exit after {seconds:.1f} s ({code})",
            "32, ≤ 30 s",
            count == 32 and seconds <= 30,
        )
    ]


def killed_rows(setting: Setting) -> list[Row]:
    """L11: one of two workers is killed under load; L10: none outlives a killed parent."""
    with saccade_server(setting.model, ("--workers", "2"), threads=setting.threads) as server:
        while len(workers_of(server.process.pid)) < 2:
            time.sleep(0.1)
        time.sleep(server.load_seconds)  # the second one loads too
        before, back = workers_of(server.process.pid), float("nan")
        seconds = max(20.0, 4 * server.load_seconds)

        def kill() -> None:
            nonlocal back
            time.sleep(2)
            start = time.perf_counter()
            os.kill(min(before), signal.SIGKILL)
            while len(now := workers_of(server.process.pid)) < 2 or now == before:
                time.sleep(0.05)
            back = time.perf_counter() - start

        killer = threading.Thread(target=kill)
        killer.start()
        outcomes = asyncio.run(closed_loop(server.target, setting.images, seconds, 8))
        killer.join()
        slowest = max(ms for _, ms in outcomes.rows) / 1000
        lost = len(outcomes.rows) - len(outcomes.milliseconds())
        children = workers_of(server.process.pid)
        server.process.kill()
        server.process.wait()
        time.sleep(5)
        alive = sum(Path(f"/proc/{child}").exists() for child in children)
    value = f"{lost} of {len(outcomes.rows)} requests lost, slowest {slowest:.1f} s; a new process after {back:.1f} s"
    return [
        Row("L11 a killed worker of two", value, "≤ 8 lost (in flight), none hangs", lost <= 8 and slowest < 30),
        Row("L10 workers 5 s after their parent's kill -9", f"{alive}", "0", alive == 0),
    ]


def memory_rows(setting: Setting) -> list[Row]:
    """L6: growth over requests of which a fifth is hostile, and the same for a server that leaks."""
    return [memory_row(setting, leaky=False), memory_row(setting, leaky=True)]


def memory_row(setting: Setting, leaky: bool, warm_up: int = 1000) -> Row:
    """Memory, files and threads after the first requests and at the end."""
    with saccade_server(setting.model, threads=setting.threads, leaky=leaky) as server:
        process = server.process.pid
        mixed(server.target.url, setting.images, min(warm_up, setting.requests))
        before, handles = memory_of(process), handles_of(process)
        statuses = mixed(server.target.url, setting.images, setting.requests)
        growth, after = memory_of(process) - before, handles_of(process)
    files, threads = after[0] - handles[0], after[1] - handles[1]
    errors = sum(count for status, count in statuses.items() if status >= 500)
    ok = growth <= 20 and files <= 0 and threads <= 0 and not errors
    value = f"{growth:+.1f} MB, {files:+d} files, {threads:+d} threads, {errors} of 5xx in {setting.requests} requests"
    if leaky:
        return Row("L6 the same with a planted leak", value, "above 20 MB", growth > 20)
    return Row("L6 memory, a fifth of the requests hostile", value, "≤ 20 MB, no file, no thread, no 5xx", ok)


def slow_rows(setting: Setting, connections: int = 200) -> list[Row]:
    """H1: silent clients, half a header, a byte a second, half a body; and what a good client notices."""
    with saccade_server(setting.model, threads=setting.threads) as server:
        asyncio.run(closed_loop(server.target, setting.images, 2, 2))
        quiet = asyncio.run(closed_loop(server.target, setting.images, 8, 1))
        closed: dict[str, list[float]] = {}
        thread = threading.Thread(target=lambda: closed.update(asyncio.run(slow_clients(server.root, connections))))
        thread.start()
        time.sleep(1)
        good: Outcomes = asyncio.run(closed_loop(server.target, setting.images, 8, 1))
        thread.join()
    ratio = good.quantile(99) / quiet.quantile(99)
    header = max(max(times) for kind, times in closed.items() if kind != "half a body")
    body = max(closed["half a body"])
    return [
        Row(
            f"H1 {3 * connections} clients without a whole header",
            f"closed within {header:.1f} s",
            "≤ 10 s + 1",
            header <= 11,
        ),
        Row(f"H1 {connections} clients with half a body", f"closed within {body:.1f} s", "≤ 30 s + 1", body <= 31),
        Row(
            "H1 p99 of a good client meanwhile",
            f"{good.quantile(99):.0f} ms, {ratio:.1f} × that before",
            "≤ 2 ×",
            ratio <= 2,
        ),
    ]


async def slow_clients(root: str, count: int) -> dict[str, list[float]]:
    """Seconds until the server closes the connection of each client, by what the client does."""
    host, port = httpx.URL(root).host, httpx.URL(root).port
    head = f"POST /v1/models/model:predict HTTP/1.1\r\nhost: {host}:{port}\r\n"
    starts = {
        "silent": b"",
        "half a header": head.encode(),
        "a byte a second": b"",
        "half a body": f"{head}content-type: image/jpeg\r\ncontent-length: 1000\r\n\r\nhalf".encode(),
    }

    async def one(kind: str) -> float:
        reader, writer = await asyncio.open_connection(host, port)
        start = time.perf_counter()
        writer.write(starts[kind])
        try:
            closed = asyncio.ensure_future(reader.read())
            if kind == "a byte a second":
                for letter in head:
                    writer.write(letter.encode())
                    await writer.drain()
                    if (await asyncio.wait({closed}, timeout=1))[0]:
                        break
            await asyncio.wait_for(closed, 60)
        except (OSError, TimeoutError):
            pass
        writer.close()
        return time.perf_counter() - start

    times = await asyncio.gather(*(one(kind) for kind in starts for _ in range(count)))
    return {kind: list(times[i * count : (i + 1) * count]) for i, kind in enumerate(starts)}


GROUPS: dict[str, Callable[[Setting], list[Row]]] = {
    "load": load_rows, "queue": queue_rows, "stop": stop_rows, "killed": killed_rows, "memory": memory_rows,
    "slow": slow_rows,
}  # fmt: skip


def seeded(group: str) -> None:
    """The same requests in every run of a group."""
    random.seed(group)
