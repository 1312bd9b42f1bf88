"""Clients of a server under test: closed and open loops, and requests of which some are hostile."""

import asyncio
import base64
import io
import random
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field

import httpx
import numpy as np
from PIL import Image

BINARY = {"content-type": "image/jpeg"}


def photograph(seed: int, width: int = 500, height: int = 375) -> bytes:
    """A smooth random picture as a JPEG."""
    small = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


@dataclass(frozen=True)
class Target:
    """Where and how a server takes an image."""

    url: str
    encoding: str = "bytes"  # or "json": {"image": base64}, or "list": {"images": [base64]}

    async def send(self, client: httpx.AsyncClient, image: bytes, headers: dict[str, str] | None = None) -> int:
        """The status of a request; 0 where the connection broke or the answer did not come."""
        try:
            if self.encoding == "bytes":
                answer = await client.post(self.url, content=image, headers={**BINARY, **(headers or {})})
            else:
                text = base64.b64encode(image).decode()
                content = {"image": text} if self.encoding == "json" else {"images": [text]}
                answer = await client.post(self.url, json=content)
        except httpx.HTTPError:
            return 0
        return answer.status_code


@dataclass
class Outcomes:
    """Statuses and milliseconds of requests."""

    rows: list[tuple[int, float]] = field(default_factory=list)

    def statuses(self) -> Counter[int]:
        return Counter(status for status, _ in self.rows)

    def milliseconds(self, status: int = 200) -> list[float]:
        return [ms for own, ms in self.rows if own == status]

    def quantile(self, percent: int, status: int = 200) -> float:
        """Milliseconds; NaN where there is no such answer."""
        values = self.milliseconds(status)
        if len(values) < 2:
            return values[0] if values else float("nan")
        return statistics.quantiles(values, n=100)[percent - 1]


async def closed_loop(target: Target, images: list[bytes], seconds: float, clients: int) -> Outcomes:
    """Clients that each send the next request after the last answer."""
    outcomes, end = Outcomes(), time.perf_counter() + seconds

    async def run(client: httpx.AsyncClient) -> None:
        while time.perf_counter() < end:
            start = time.perf_counter()
            status = await target.send(client, random.choice(images))
            outcomes.rows.append((status, 1000 * (time.perf_counter() - start)))

    async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=clients)) as client:
        await asyncio.gather(*(run(client) for _ in range(clients)))
    return outcomes


async def open_loop(target: Target, images: list[bytes], seconds: float, rate: float) -> Outcomes:
    """Requests that leave at random times, `rate` a second, whatever the answers do."""
    outcomes = Outcomes()

    async def send(client: httpx.AsyncClient) -> None:
        start = time.perf_counter()
        status = await target.send(client, random.choice(images))
        outcomes.rows.append((status, 1000 * (time.perf_counter() - start)))

    async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=None)) as client:
        tasks, start, left = [], time.perf_counter(), 0.0
        while left < seconds:
            await asyncio.sleep(max(0.0, start + left - time.perf_counter()))
            tasks.append(asyncio.create_task(send(client)))
            left += random.expovariate(rate)
        await asyncio.gather(*tasks)
    return outcomes


def burst(target: Target, images: list[bytes], count: int) -> Outcomes:
    """Requests that all leave at once."""

    async def run() -> Outcomes:
        outcomes = Outcomes()

        async def send(client: httpx.AsyncClient, number: int) -> None:
            start = time.perf_counter()
            status = await target.send(client, images[number % len(images)])
            outcomes.rows.append((status, 1000 * (time.perf_counter() - start)))

        async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=None)) as client:
            await asyncio.gather(*(send(client, number) for number in range(count)))
        return outcomes

    return asyncio.run(run())


def mixed(url: str, images: list[bytes], count: int) -> Counter[int]:
    """The statuses of requests one after the other, of which a fifth is hostile: cut files, noise, nested JSON, many
    parts."""
    statuses: Counter[int] = Counter()
    with httpx.Client(timeout=60) as client:
        for _ in range(count):
            image, kind = random.choice(images), random.random()
            content, headers, files = image, BINARY, None
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
            statuses[answer.status_code] += 1
    return statuses
