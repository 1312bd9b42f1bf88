"""The explorer's endpoints: exact rows, and who is answered."""

import http.client
import json
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch

import saccade
from saccade.explorer.session import Session
from tests.explorer.conftest import Explorer, photograph


def ask(
    explorer: Explorer, path: str, method: str = "GET", headers: dict[str, str] | None = None, body: bytes | None = None
) -> tuple[int, bytes, http.client.HTTPMessage]:
    """(status, body, headers) of one request."""
    connection = http.client.HTTPConnection(urlsplit(explorer.address).netloc, timeout=20)
    connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content, answer.headers


def traced(session: Session, image: str, model: str = "0") -> dict[str, torch.Tensor]:
    """What saccade.record gives for an image of the session."""
    predictor = session.models[model].predictor
    inputs = predictor.prepare(session.image(image).source)[None]
    with saccade.record(predictor.model) as trace, torch.no_grad():
        predictor.model(inputs)
    return trace.attention


def test_rows_are_those_of_the_trace(explorer: Explorer) -> None:
    attention = list(traced(explorer.session, "0").values())
    for layer, query in ((0, 0), (2, 7)):
        status, content, _ = ask(explorer, f"/api/models/0/images/0/self/layers/{layer}?query={query}")
        assert status == 200
        rows = np.frombuffer(content, "<f2").reshape(3, 17)
        assert np.array_equal(rows, attention[layer][0, :, query].numpy().astype(np.float16))
    _, content, _ = ask(explorer, "/api/models/0/images/0/self/grid?query=3")
    scales, steps = np.frombuffer(content[:36], "<f4"), np.frombuffer(content[36:], np.uint8).reshape(9, 17)
    expected = torch.cat([weights[0, :, 3] for weights in attention]).numpy()
    assert np.abs(scales[:, None] * steps - expected).max() <= expected.max() / 500


def test_the_rollout_is_that_of_the_analysis(explorer: Explorer) -> None:
    from saccade.analysis.rollout import attention_rollout

    expected = attention_rollout(list(traced(explorer.session, "0").values()))[0, 0]
    _, content, _ = ask(explorer, "/api/models/0/images/0/self/rollout?query=0")
    assert np.abs(np.frombuffer(content, "<f2") - expected.numpy()).max() < 1e-3


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example:80"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"},
    ],
)
def test_other_sites_are_refused(explorer: Explorer, headers: dict[str, str]) -> None:
    status, content, _ = ask(explorer, "/api/state", headers=headers)
    assert status == 403
    assert b"models" not in content


def test_a_link_from_elsewhere_opens_the_page(explorer: Explorer) -> None:
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    status, _, headers = ask(explorer, "/", headers=link)
    assert status == 200
    assert "default-src 'none'" in (headers["content-security-policy"] or "")
    assert ask(explorer, "/api/state", headers=link)[0] == 403


@pytest.mark.parametrize("path", ["/../pyproject.toml", "/%2e%2e/app.py", "/app.py", "/page/index.html", "/api/x"])
def test_only_files_of_the_page_are_served(explorer: Explorer, path: str) -> None:
    assert ask(explorer, path)[0] == 404


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/api/models/9/images/0", "there is no model '9'"),
        ("/api/models/0/images/9", "not in memory"),
        ("/api/models/0/images/0/self/layers/3?query=0", "there is no layer 3"),
        ("/api/models/0/images/0/self/layers/0?query=17", "there is no query 17"),
        ("/api/models/0/images/0/cross/grid", "there is no stream"),
        ("/api/models/0/images/0?sharpen=1", "there is no parameter 'sharpen'"),
    ],
)
def test_wrong_addresses_are_explained(explorer: Explorer, path: str, message: str) -> None:
    status, content, _ = ask(explorer, path)
    assert status == 400
    assert message in json.loads(content)["error"]


def test_uploads_are_images_within_limits(explorer: Explorer) -> None:
    status, content, _ = ask(explorer, "/api/images", "POST", {"X-Name": "a%20b.png"}, photograph(seed=5))
    assert status == 200
    key = json.loads(content)["key"]
    assert json.loads(content)["name"] == "a b.png"
    assert ask(explorer, f"/api/models/0/images/{key}")[0] == 200
    status, content, _ = ask(explorer, "/api/images", "POST", {"X-Name": "x.png"}, photograph()[:300])
    assert status == 400
    assert "x.png" in json.loads(content)["error"]
    assert ask(explorer, "/api/images", "POST", {}, b"<svg onload=alert(1)>")[0] == 400
    assert ask(explorer, "/api/images", "POST", {}, bytes(33 * 2**20))[0] == 413


def test_memory_stays_within_its_budget() -> None:
    from saccade.explorer.change import Change
    from tests.explorer.conftest import OpenImage, small_model

    images = [OpenImage(f"{seed}.png", photograph(seed=seed)) for seed in range(8)]
    session = Session([small_model("one")], images, 40_000)
    for key in session.images:
        session.recording("0", key, Change())
        assert session.nbytes <= session.budget
    assert 0 < len(session.recordings) < 8


def test_a_changed_run_is_that_of_intervene(explorer: Explorer) -> None:
    predictor = explorer.session.models["0"].predictor
    inputs = predictor.prepare(explorer.session.image("0").source)[None]
    change = {"heads": {1: [0, 2]}, "blocks": [2], "tokens": [1, 2, 6], "fill": "zero", "temperature": 2.0}
    with saccade.intervene(predictor.model, **change), saccade.record(predictor.model) as trace, torch.no_grad():
        expected = predictor.model(inputs).softmax(-1)[0]
    query = "hide=0-1,5&fill=zero&heads=1.0,1.2&blocks=2&temperature=2"
    _, content, _ = ask(explorer, f"/api/models/0/images/0?{query}")
    scores = {row["label"]: row["score"] for row in json.loads(content)["result"]["top"]}
    assert [scores[label] for label in predictor.labels] == pytest.approx(expected.tolist(), abs=1e-6)
    _, content, _ = ask(explorer, f"/api/models/0/images/0/self/layers/1?{query}&query=4")
    weights = list(trace.attention.values())[1][0, :, 4].numpy()
    assert np.array_equal(np.frombuffer(content, "<f2").reshape(3, 17), weights.astype(np.float16))
    for wrong in ("hide=16", "heads=9.0", "heads=0.3", "blocks=3"):
        status, content, _ = ask(explorer, f"/api/models/0/images/0?{wrong}")
        assert status == 400
        assert json.loads(content)["error"]


def test_relevance_is_that_of_the_analysis(explorer: Explorer) -> None:
    from saccade.analysis.image_maps import image_map

    predictor = explorer.session.models["0"].predictor
    expected = image_map(predictor, explorer.session.image("0").source, "relevance", target="cat").values
    status, content, _ = ask(explorer, "/api/models/0/images/0/relevance?label=cat")
    assert status == 200
    assert np.allclose(np.frombuffer(content, "<f4").reshape(4, 4), expected, atol=1e-6)
    status, content, _ = ask(explorer, "/api/models/0/images/0/relevance?label=yak")
    assert status == 400
    assert "yak" in json.loads(content)["error"]
