"""The server over a socket: answers equal those of the predictor; what is wrong is refused in one line."""

import base64
import io
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from saccade.errors import ConfigError
from saccade.serving.served_model import ServedModel
from saccade.serving.settings import Limits, ServerSettings
from saccade.tasks.loading import predictor_of
from tests.serving.conftest import LABELS, BlockedModel, photograph, running, small_source

BINARY = {"content-type": "application/octet-stream"}
JSON = {"content-type": "application/json"}


@pytest.fixture
def client(port: int) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as session:
        yield session


def predict(client: httpx.Client, content: bytes, query: str = "", **headers: str) -> httpx.Response:
    return client.post(f"/v1/models/insects:predict{query}", content=content, headers={**BINARY, **headers})


def expected(seed: int) -> dict[str, Any]:
    result = predictor_of(small_source()).predict(photograph(seed))
    return {"label": result.label, "score": pytest.approx(result.score, abs=1e-5)}


def test_every_way_to_send_an_image_gives_the_answer_of_the_predictor(client: httpx.Client) -> None:
    url, images = "/v1/models/insects:predict", [photograph(seed) for seed in (1, 2)]
    encoded = [{"b64": base64.b64encode(image).decode()} for image in images]
    form = [("image", (f"{n}.png", image, "image/png")) for n, image in enumerate(images)]
    answers = {
        "json": client.post(url, json={"instances": encoded}).json(),
        "form": client.post(url, files=form).json(),
    }
    for content in answers.values():
        got = [{key: one[key] for key in ("label", "score")} for one in content["predictions"]]
        assert got == [expected(1), expected(2)]
    alone = predict(client, images[0], "?draw=1&attention=-1").json()
    assert alone["predictions"][0]["label"] == expected(1)["label"]
    assert Image.open(io.BytesIO(base64.b64decode(alone["drawn"][0]))).width >= 80
    assert np.shape(alone["attention"]) == (1, 4, 4)


def test_many_clients_at_once_get_what_each_would_get_alone(client: httpx.Client) -> None:
    right = [expected(seed) for seed in range(12)]

    def send(seed: int) -> dict[str, Any]:
        one = predict(client, photograph(seed)).json()["predictions"][0]
        return {"label": one["label"], "score": one["score"]}

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(send, range(12))) == right


@pytest.mark.parametrize(
    ("path", "content", "headers", "status", "message"),
    [
        ("insects:predict", b"no image", BINARY, 400, "not an image"),
        ("insects:predict", b"", BINARY, 400, "there is no image"),
        ("insects:predict?top=9", b"x", BINARY, 400, "there is no parameter 'top'"),
        ("insects:predict?attention=x", b"x", BINARY, 400, "number of a layer"),
        ("insects:predict?attention=7", photograph(), BINARY, 400, "layer"),
        ("insects:predict", b"x", {"content-type": "text/plain"}, 415, "send an image file"),
        ("insects:predict", b"x" * 300_000, BINARY, 413, "larger than 200,000 bytes"),
        ("insects:predict", photograph(), {**BINARY, "content-encoding": "gzip"}, 415, "content-encoding"),
        ("insects:predict", b"[" * 100_000, JSON, 400, "nested too deeply"),
        ("insects:predict", b'{"instances": [{"url": "http://127.0.0.1/"}]}', JSON, 400, "no address is fetched"),
        ("insects:predict", b'{"instances": [{"b64": "%%%"}]}', JSON, 400, "not base64"),
        ("insects:predict", b'{"instances": [], "size": 9}', JSON, 400, "there is no key 'size'"),
        ("insects:predict", json.dumps({"instances": [{"b64": "AAAA"}] * 17}).encode(), JSON, 413, "at most 16"),
        ("insects:predict", b"x", {**BINARY, "x-timeout-ms": "soon"}, 400, "milliseconds"),
        ("insects:predict", b"x", {**BINARY, "origin": "http://evil.example"}, 403, "its own page"),
        ("insects:predict", b"x", {**BINARY, "host": "evil.example"}, 403, "this machine"),
        ("..%2f..%2fetc:predict", b"x", BINARY, 404, ""),
        ("none:predict", b"x", BINARY, 404, "no such model"),
        ("insects:predict", b"--", {"content-type": "multipart/form-data"}, 400, ""),
    ],
)
def test_wrong_requests_are_refused_in_one_line(
    client: httpx.Client, path: str, content: bytes, headers: dict[str, str], status: int, message: str
) -> None:
    response = client.post(f"/v1/models/{path}", content=content, headers=headers)
    assert response.status_code == status, response.text
    error = response.json()
    assert message in error["error"]
    assert "\n" not in error["error"]
    assert error["request_id"] == response.headers["x-request-id"]
    assert predict(client, photograph()).status_code == 200


def test_a_body_without_length_is_counted_while_it_is_read(client: httpx.Client) -> None:
    def parts() -> Iterator[bytes]:
        for _ in range(300):
            yield b"x" * 1000

    response = client.post("/v1/models/insects:predict", content=parts(), headers=BINARY)
    assert response.status_code == 413


@pytest.mark.parametrize("text", ["", "GET /live HTTP/1.1\r\nHost:", "POST /v1/models/insects:predict HTTP/1.1\r\n"])
def test_a_client_that_sends_no_whole_header_is_disconnected(port: int, text: str) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(text.encode())
        start = time.monotonic()
        assert connection.recv(100) == b""
        assert time.monotonic() - start < 3


def test_a_body_that_does_not_end_is_refused(port: int) -> None:
    head = "POST /v1/models/insects:predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 50\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(f"{head}Content-Type: image/png\r\n\r\nabc".encode())
        assert b" 408 " in connection.recv(100)


@pytest.mark.parametrize(
    "head",
    ["X-Long: " + "a" * 200_000, "Content-Length: 5\r\nTransfer-Encoding: chunked", "Content-Length: -1"],
)
def test_malformed_headers_are_refused(port: int, head: str) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        request = f"POST /v1/models/insects:predict HTTP/1.1\r\nHost: 127.0.0.1\r\n{head}\r\n\r\n"
        try:
            connection.sendall(request.encode())
            status = connection.recv(100).split(b" ")[1]
        except (ConnectionResetError, BrokenPipeError):
            return
        assert status.startswith(b"4")


def test_a_full_queue_answers_503_with_retry_after() -> None:
    gate = threading.Event()
    model, limits = BlockedModel("slow", gate), Limits(max_queue=4, max_batch=2, max_wait_ms=0)
    with running(ServerSettings({"slow": ""}, limits), [model]) as port:
        url = f"http://127.0.0.1:{port}/v1/models/slow:predict"

        def send(seed: int) -> httpx.Response:
            return httpx.post(url, content=photograph(seed), headers=BINARY, timeout=20)

        with ThreadPoolExecutor(9) as pool:
            first = pool.submit(send, 0)
            while not model.batches:
                time.sleep(0.01)
            rest = [pool.submit(send, seed) for seed in range(1, 8)]
            deadline = time.monotonic() + 10
            while sum(one.done() for one in rest) < 3 and time.monotonic() < deadline:
                time.sleep(0.01)
            refused = [one.result() for one in rest if one.done()]
            gate.set()
            codes = sorted(one.result().status_code for one in (first, *rest))
    assert [one.status_code for one in refused] == [503] * 3
    assert all(int(one.headers["retry-after"]) >= 1 for one in refused)
    assert codes == [200] * 5 + [503] * 3


def test_a_token_is_required_and_compared_whole() -> None:
    token = "0123456789abcdef"
    settings = ServerSettings({"m": ""}, token=token)
    with running(settings, [ServedModel("m", predictor_of(small_source()))]) as port:
        url = f"http://127.0.0.1:{port}"
        for sent in ("", f"Bearer {token[:-1]}", f"Bearer {token}x", token):
            assert httpx.get(f"{url}/v1/models", headers={"authorization": sent}).status_code == 401
        assert httpx.get(f"{url}/v1/models", headers={"authorization": f"Bearer {token}"}).status_code == 200
        assert httpx.get(f"{url}/ready").status_code == 200


def test_settings_that_would_open_the_server_are_refused() -> None:
    with pytest.raises(ConfigError, match="give a --token-file"):
        ServerSettings({"m": ""}, host="0.0.0.0")
    with pytest.raises(ConfigError, match="at least 16"):
        ServerSettings({"m": ""}, token="short")


def test_figures_models_and_documents(client: httpx.Client) -> None:
    predict(client, photograph())
    figures = client.get("/metrics").text
    assert 'saccade_requests_total{route="/v1/models/insects:predict",status="200"}' in figures
    (model,) = client.get("/v1/models").json()["models"]
    assert (model["task"], model["labels"]) == ("classification", list(LABELS))
    document = client.get("/openapi.json").json()
    assert set(document["paths"]) >= {"/v1/models/{name}:predict", "/ready"}
    page = client.get("/")
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert client.get("/v1/models/insects:predict").status_code == 405


def test_tritons_client(port: int) -> None:
    triton = pytest.importorskip("tritonclient.http")
    client = triton.InferenceServerClient(f"127.0.0.1:{port}")
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("insects")
    assert client.get_model_metadata("insects")["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [-1]}]
    tensor = triton.InferInput("image", [2], "BYTES")
    tensor.set_data_from_numpy(np.array([photograph(1), photograph(2)], dtype=np.object_))
    for binary in (True, False):
        output = triton.InferRequestedOutput("result", binary_data=binary)
        values = client.infer("insects", [tensor], outputs=[output]).as_numpy("result")
        got = [json.loads(one)[0] for one in values]
        assert [{key: one[key] for key in ("label", "score")} for one in got] == [expected(1), expected(2)]
    assert client.infer("insects", [tensor]).as_numpy("result").shape == (2,)
    client.close()


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [3]}, {"shape": [-1]}, {"shape": [2**40]}, {"datatype": "FP32"}, {"name": "other"},
        {"data": ["%%"]}, {"data": None}, {"parameters": {"binary_data_size": 5}, "data": None},
    ],
)  # fmt: skip
def test_wrong_tensors_are_refused(client: httpx.Client, change: dict[str, Any]) -> None:
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [base64.b64encode(photograph()).decode()]}
    url = "/v2/models/insects/infer"
    assert client.post(url, json={"inputs": [tensor]}).status_code == 200
    wrong = {key: value for key, value in {**tensor, **change}.items() if value is not None}
    response = client.post(url, json={"inputs": [wrong]})
    assert response.status_code == 400, response.text
