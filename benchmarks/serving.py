"""The server under load: throughput, latency, overload.

    python -m benchmarks.serving --seconds 10

Starts `saccade serve` with a fresh ViT-Ti/16 and sends it JPEGs of 500 x 375 pixels from this process: a closed loop
for the throughput, then an open loop, whose requests leave at random times whatever the answers do.
"""

import argparse
import asyncio
import io
import json
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


def quantiles(values: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(values, n=100)
    return {"p50_ms": round(cuts[49], 1), "p99_ms": round(cuts[98], 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--threads", type=int, default=1)
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
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
