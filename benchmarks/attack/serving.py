"""A model in use: many threads, many hostile inputs, no connection anywhere, requests to the explorer."""

import ctypes
import json
import random
import resource
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
import uvicorn
from PIL import Image

import saccade
from benchmarks.attack.edits import HOSTILE, edited_bytes
from benchmarks.attack.pictures import disproportionate, encoded, picture_files
from benchmarks.attack.runner import Row, problem_of
from benchmarks.attack.terminal import problem_of_command, run_command
from benchmarks.attack.weights import GOLDEN, model_folders
from saccade.engine.predictor import Predictor
from saccade.explorer.serve import HOST, configuration
from saccade.explorer.session import OpenImage, OpenModel, Session
from saccade.web import open_socket

THREADS, EACH = 8, 48


def classifier(folder: Path) -> Predictor:
    return saccade.load(GOLDEN / "classify")


def threaded(predictor: Predictor, number: int, rng: random.Random, folder: Path) -> str | None:
    """Eight threads predict, half of them while they record: each result is that of one thread alone."""
    images = [np.random.default_rng(rng.getrandbits(32)).integers(0, 255, (20, 20), np.uint8) for _ in range(EACH)]
    expected = [json.dumps(predictor.predict(image).to_dict()) for image in images]

    def work(thread: int) -> str | None:
        order = random.Random(thread).sample(range(EACH), EACH)
        for index in order:
            if thread % 2:
                with saccade.record(predictor.model) as trace:
                    result = predictor.predict(images[index])
                if any(len(weights) != 1 for weights in trace.attention.values()) or not trace.attention:
                    return "a recording has another thread's attention"
            else:
                result = predictor.predict(images[index])
            if json.dumps(result.to_dict()) != expected[index]:
                return f"thread {thread}: another result"
        return None

    precision = torch.get_float32_matmul_precision()
    with ThreadPoolExecutor(THREADS) as pool:
        reasons = [reason for reason in pool.map(work, range(THREADS)) if reason]
    if torch.get_float32_matmul_precision() != precision:
        return "the precision of matrix products of the process has changed"
    return reasons[0] if reasons else None


# --------------------------------------------------------------------------------------------------------------- memory

INPUTS, GROWTH = 500, 20  # predictions of a call; MB from the first call on


class Memory:
    """A predictor, and the resident memory after the first call."""

    def __init__(self, predictor: Predictor):
        self.predictor, self.first = predictor, 0.0


def resident() -> float:
    """Megabytes of this process in memory, after glibc has given back what is free: buffers of images that it keeps for
    the next ones come and go by tens of megabytes, and hide a leak as well as they look like one."""
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def leaking(memory: Memory, number: int, rng: random.Random, folder: Path) -> str | None:
    """Predictions of edited, thin and huge images; the first call of a process warms up."""
    files = list(picture_files().values())
    for _ in range(2 if memory.first == 0 else 1):
        for _ in range(INPUTS):
            content = edited_bytes(rng.choice(files), rng) if rng.random() < 0.95 else disproportionate(rng)[1]
            reason = problem_of(lambda content=content: memory.predictor.predict(content))
            if reason:
                return reason
        if memory.first == 0:
            memory.first = resident()
    growth = resident() - memory.first
    return f"the resident memory grew by {growth:.1f} MB" if growth > GROWTH else None


# -------------------------------------------------------------------------------------------------------------- network

ADDRESSES = (
    "http://127.0.0.1:9/x",
    "https://example.com/x.png",
    "ftp://x/y",
    "gopher://x",
    "//example.com/x",
    "s3://a/b",
)
CONNECTS = {
    "socket.connect",
    "socket.getaddrinfo",
    "socket.gethostbyname",
    "socket.sendto",
    "urllib.Request",
    "http.client.connect",
}


def connected(models: list[tuple[Path, Any]], number: int, rng: random.Random, folder: Path) -> str | None:
    """A command on files that name addresses wherever there is a text; an audit hook sees every connection."""
    events: list[str] = []

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in CONNECTS and not (arguments and getattr(arguments[0], "family", None) == socket.AF_UNIX):
            events.append(f"{event} {arguments[1:]}")

    sys.addaudithook(hook)
    source, one = models[number % len(models)]
    address = rng.choice(ADDRESSES)
    copy = folder / "model"
    copy.mkdir()
    for file in source.iterdir():
        content = file.read_bytes()
        if file.suffix == ".json":
            document = json.loads(content)
            if isinstance(document, dict):
                extra = {"_name_or_path": address, "auto_map": {"AutoModel": address}, "trust_remote_code": True}
                content = json.dumps({**document, **extra, "url": address, "base_model": address}).encode()
        (copy / file.name).write_bytes(content)
    photos = folder / "photos"
    for name in ("cat", "dog"):
        (photos / name).mkdir(parents=True)
        for index in range(6):
            Image.fromarray(np.full((16, 16, 3), 40 * index, np.uint8)).save(photos / name / f"{index}.png")
    rows = "".join(f"{address}/{i}.png,cat\n{address}/{i}.png,dog\n" for i in range(6))
    (folder / "urls.csv").write_text("file,label\n" + rows)
    inputs = [str(photos), address] if not isinstance(one, str) else [address]
    commands = (
        ["predict", str(copy), *inputs], ["data", "check", str(folder / "urls.csv")], ["data", "check", address],
        ["predict", address, str(photos)], ["train", address, "--steps", "1", "--output", str(folder / "run")],
        ["convert", str(copy), str(folder / "out"), "--to", "huggingface"], ["evaluate", str(copy), str(photos)],
    )  # fmt: skip
    reasons = [f"{command[0]}: {reason}" for command in commands if (reason := problem_of_command(command))]
    return f"opened {events[0]}" if events else next(iter(reasons), None)


# -------------------------------------------------------------------------------------------------------------- outputs


LABELS = ("\x1b[2J", "\r\nsaccade: forged", "\x07", "\u202e", "\x9b31m", "a\tb", "\0", '"', ",", "<script>", "NaN")


def hostile_labels(state: Path, number: int, rng: random.Random, folder: Path) -> str | None:
    """Labels and file names with escape sequences: escaped in text, whole in JSON."""
    copy = folder / "model"
    copy.mkdir()
    for file in state.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    document = json.loads((copy / "config.json").read_text())
    label = "x" + rng.choice(LABELS)
    document["labels"] = [f"{label}{index}" for index in range(len(document["labels"]))]
    (copy / "config.json").write_text(json.dumps(document))
    image = folder / rng.choice(("a.png", "\x1b[31ma.png", "a\nb.png", "\u202ea.png"))
    image.write_bytes(encoded("PNG", "L"))
    broken = folder / "\x1b]0;x\x07\nsaccade: fine.png"
    broken.write_bytes(b"no image")
    reason = problem_of_command(["predict", str(copy), str(image), str(broken)])
    if reason:
        return reason
    code, out, _ = run_command(["predict", str(copy), str(image), "--json"])
    results = json.loads(out, parse_constant=lambda text: not_json(text))
    if code or results[0]["label"] not in document["labels"]:
        return f"exit code {code}, {results[0]['label']!r} in JSON"
    return None


def not_json(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


def labelled_model(folder: Path) -> Path:
    return GOLDEN / "classify" / "model"


# ------------------------------------------------------------------------------------------------------------- requests

PATHS = (
    "/", "/api/state", "/api/images", "/api/images/0/thumbnail", "/api/models/0/images/0",
    "/api/models/0/images/0/shown", "/api/models/0/images/0/drawn", "/api/models/0/images/0/labels?labels=0,1",
    "/api/models/0/images/0/relevance?label=0", "/api/models/0/images/0/self/layers/0?query=1",
    "/api/models/0/images/0/self/grid?query=1", "/api/models/0/images/0/self/rollout?query=0", "/page.css", "/main.js",
)  # fmt: skip
PARTS = (
    "..", "%2e%2e%2f", "/etc/passwd", "%00", "\\..\\", "9" * 30, "-1", "NaN", "a" * 3000, "%ff", "http://127.0.0.1:9/",
    "<script>", "?", "&", "0;", "query=", "heads=", "hide=", "1e9", "\u00e9",
)  # fmt: skip


class Server:
    """An explorer over a small model, begun in the process that first uses it."""

    def __init__(self) -> None:
        self.port, self.state = 0, b""

    def begin(self) -> None:
        predictor = saccade.load(GOLDEN / "classify")
        session = Session([OpenModel("model", predictor)], [OpenImage("a.png", encoded("PNG", "L"))], 2**26)
        listener = open_socket(HOST, 0)
        self.port = listener.getsockname()[1]
        server = uvicorn.Server(configuration(session))
        threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True).start()
        self.state = self.rows()

    def rows(self) -> bytes:
        """The body of an answer that is always the same."""
        request = self.request("GET", "/api/models/0/images/0/self/grid?query=1")
        return self.send(request, ends=False).partition(b"\r\n\r\n")[2]

    def request(self, method: str, path: str, headers: str = "", body: bytes = b"") -> bytes:
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nConnection: close\r\n{headers}"
        return head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body

    def send(self, content: bytes, ends: bool = True) -> bytes:
        """The answer, or its beginning where the server closes; with `ends`, nothing follows what is sent."""
        answer = b""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            try:
                connection.sendall(content)
                if ends:
                    connection.shutdown(socket.SHUT_WR)
                while part := connection.recv(65_536):
                    answer += part
            except OSError:  # closed, or nothing came for ten seconds
                pass
        return answer


def server(folder: Path) -> Server:
    return Server()


def hostile_request(server: Server, number: int, rng: random.Random, folder: Path) -> str | None:
    """A request with edited path, headers and body: no answer of 500 or above, and the next answer is the right one."""
    if not server.port:
        server.begin()
    path = rng.choice(PATHS)
    if rng.random() < 0.7:
        at = rng.randrange(len(path) + 1)
        path = path[:at] + rng.choice(PARTS) + path[at + rng.randint(0, 2) :]
    path = path.replace(" ", "%20").replace("\n", "")
    headers = rng.choice(("", "X-Name: %0a%1b[31m\r\n", "Origin: http://x.example\r\n", "Range: bytes=0-1,2-3\r\n",
                          "Transfer-Encoding: chunked\r\n", "Content-Encoding: gzip\r\n", "Expect: 100-continue\r\n",
                          f"X-Long: {'a' * 9000}\r\n", "Content-Length: -1\r\n", "Host: x.example\r\n"))  # fmt: skip
    method = rng.choice(("GET", "GET", "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "TRACE", "get", "X" * 50))
    files = list(picture_files().values())
    body = rng.choice((b"", edited_bytes(rng.choice(files), rng), disproportionate(rng)[1], *HOSTILE[:4]))
    content = server.request(method, path, headers, body)
    if rng.random() < 0.3:
        content = edited_bytes(content, rng)
    answer = server.send(content)
    if answer.startswith(b"HTTP/1.1 5"):
        return f"{method} {path[:80]}: {answer[:100]!r}"
    if b"Traceback" in answer or str(GOLDEN).encode() in answer:
        return f"{method} {path[:80]}: the answer shows the inside: {answer[-200:]!r}"
    if number % 20 == 0 and server.rows() != server.state:
        return "another answer than before"
    return None


ROWS = (
    Row("threads", "predictions of one model in 8 threads, half of them recorded", "each as in one thread, to the bit",
        3072, threaded, classifier, size=THREADS * EACH, batch=8, megabytes=4000, cpu_seconds=120),
    Row("memory", "predictions of hostile images in one process", f"at most {GROWTH} MB more than after the first "
        f"{INPUTS}", 2000, leaking, lambda folder: Memory(classifier(folder)), size=INPUTS, batch=4, cpu_seconds=200,
        seconds=600),
    Row("network", "7 commands on models and tables that name addresses everywhere", "no connection, no name looked up",
        24, connected, model_folders, batch=1, megabytes=4000, cpu_seconds=60),
    Row("outputs", "labels and file names with escape sequences and line breaks", "escaped on the terminal, whole in "
        "JSON", 100, hostile_labels, labelled_model, batch=25),
    Row("requests", "edited requests to the explorer", "no answer of 500 or above; the next answer is right", 1000,
        hostile_request, server, batch=250, megabytes=4000, cpu_seconds=60),
)  # fmt: skip
