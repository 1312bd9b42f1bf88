"""The server under load: throughput, latency, overload.

    python -m benchmarks.serving --seconds 10

Starts `saccade serve` with a fresh ViT-Ti/16 and sends it JPEGs of 500 x 375 pixels from this process: a closed loop
for the throughput, then an open loop, whose requests leave at random times whatever the answers do; then mixed
requests, a fifth of them hostile, whose memory is counted after the first five hundred (on Linux).
"""

import argparse
import asyncio
import io
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import numpy as np
import torch
from PIL import Image

import saccade
from benchmarks.machine import describe
from saccade.data.preprocessing import Preprocessing

HEADERS = {"content-type": "image/jpeg"}


def photograph(seed: int) -> bytes:
    """A smooth random picture as a JPEG."""
    small = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(small).resize((500, 375), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


async def closed_loop(url: str, images: list[bytes], seconds: float, clients: int) -> float:
    """Images per second of clients that each send the next request after the last answer."""
    done, end = 0, time.perf_counter() + seconds

    async def run(client: httpx.AsyncClient) -> None:
        nonlocal done
        while time.perf_counter() < end:
            answer = await client.post(url, content=random.choice(images), headers=HEADERS)
            done += answer.status_code == 200

    async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=clients)) as client:
        await asyncio.gather(*(run(client) for _ in range(clients)))
    return done / seconds


async def open_loop(url: str, images: list[bytes], seconds: float, rate: float) -> list[tuple[int, float]]:
    """(Status, milliseconds) of requests that leave at random times, `rate` a second."""
    outcomes: list[tuple[int, float]] = []

    async def send(client: httpx.AsyncClient) -> None:
        start = time.perf_counter()
        answer = await client.post(url, content=random.choice(images), headers=HEADERS)
        outcomes.append((answer.status_code, 1000 * (time.perf_counter() - start)))

    async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=None)) as client:
        tasks, end = [], time.perf_counter() + seconds
        while time.perf_counter() < end:
            tasks.append(asyncio.create_task(send(client)))
            await asyncio.sleep(random.expovariate(rate))
        await asyncio.gather(*tasks)
    return outcomes


def mixed(url: str, images: list[bytes], count: int, process: int) -> dict[str, float]:
    """Memory of the server over requests of which a fifth is hostile: cut files, noise, nested JSON, many parts."""
    codes: dict[int, int] = {}
    before = resident(process)
    with httpx.Client(timeout=30) as client:
        for number in range(500 + count):
            if number == 500:
                before = resident(process)
            image, kind = random.choice(images), random.random()
            content, headers, files = image, HEADERS, None
            if kind > 0.95:
                files = [("image", (f"{n}.png", b"x" * 1000)) for n in range(random.randrange(1, 90))]
            elif kind > 0.9:
                content = random.randbytes(random.randrange(1, 10**6))
            elif kind > 0.85:
                content, headers = b"[" * random.randrange(1, 10**5), {"content-type": "application/json"}
            elif kind > 0.8:
                content = image[: random.randrange(1, len(image))]
            if files is None:
                answer = client.post(url, content=content, headers=headers)
            else:
                answer = client.post(url, files=files)
            codes[answer.status_code] = codes.get(answer.status_code, 0) + 1
    return {
        "requests": count,
        "growth_MB": round(resident(process) - before, 1),
        **{str(k): v for k, v in codes.items()},
    }


def resident(process: int) -> float:
    """Memory of a process in MB."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def quantiles(values: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(values, n=100)
    return {"p50_ms": round(cuts[49], 1), "p99_ms": round(cuts[98], 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--mixed", type=int, default=2000, help="requests, a fifth of them hostile")
    arguments = parser.parse_args()
    random.seed(0)
    torch.set_num_threads(arguments.threads)
    images = [photograph(seed) for seed in range(16)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        preprocessing = Preprocessing((224, 224))
        saccade.save(
            saccade.create("vit_ti16", num_classes=10), path, labels=list("abcdefghij"), preprocessing=preprocessing
        )
        predictor = saccade.load(path)
        predictor.predict(images, batch_size=8)
        start, count = time.perf_counter(), 0
        while time.perf_counter() - start < arguments.seconds:
            predictor.predict(images[:8], batch_size=8)
            count += 8
        offline = count / (time.perf_counter() - start)
        start = time.perf_counter()
        for image in images:
            predictor.predict(image)
        alone = 1000 * (time.perf_counter() - start) / len(images)
        command = [sys.executable, "-m", "saccade", "serve", str(path), "--port", "0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            assert process.stdout is not None
            match = re.match(r"http://\S+/", process.stdout.readline())
            assert match is not None
            url = f"{match[0]}v1/models/model:predict"
            asyncio.run(closed_loop(url, images, 2, 8))
            one = asyncio.run(open_loop(url, images, arguments.seconds, 2))
            top = asyncio.run(closed_loop(url, images, arguments.seconds, 16))
            busy = asyncio.run(open_loop(url, images, arguments.seconds, 0.7 * top))
            over = asyncio.run(open_loop(url, images, arguments.seconds, 2 * top))
            memory = mixed(url, images, arguments.mixed, process.pid)
            process.terminate()
    answered = [ms for status, ms in over if status == 200]
    refused = [ms for status, ms in over if status == 503]
    report = {
        "machine": describe(),
        "predictor_images_per_second": round(offline, 1),
        "server_images_per_second": round(top, 1),
        "ratio": round(top / offline, 3),
        "predictor_alone_ms": round(alone, 1),
        "two_a_second": quantiles([ms for _, ms in one]),
        "at_70_percent": {**quantiles([ms for _, ms in busy]), "errors": sum(status != 200 for status, _ in busy)},
        "at_200_percent": {
            "goodput": round(len(answered) / arguments.seconds / top, 3),
            "answered": quantiles(answered),
            "refused": {"count": len(refused), **(quantiles(refused) if len(refused) > 1 else {})},
            "others": sum(status not in (200, 503) for status, _ in over),
        },
        "mixed": memory,
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
