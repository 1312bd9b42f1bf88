"""`hub:ORG/NAME` against a local server that speaks as the hub does; then without it."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image

from saccade.checkpoints.convert import convert
from saccade.checkpoints.hub import download
from saccade.errors import CheckpointError
from tests.checkpoints.test_convert import model_dir

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def serve(folder: Path) -> ThreadingHTTPServer:
    """A hub with one public repository, some/vit, whose files are those of the folder."""
    files = {path.name: path.read_bytes() for path in folder.iterdir()}

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(with_body=True)

        def do_HEAD(self) -> None:
            self.answer(with_body=False)

        def answer(self, with_body: bool) -> None:
            path, name = self.path.split("?")[0], self.path.split("?")[0].rsplit("/", 1)[1]
            headers = {"X-Repo-Commit": COMMIT}
            if path.startswith("/api/models/some/vit/tree/"):
                listing = [{"type": "file", "path": n, "size": len(f), "oid": COMMIT} for n, f in files.items()]
                content = json.dumps(listing).encode()
            elif path.startswith("/api/models/some/vit"):
                siblings = [{"rfilename": file} for file in files]
                content = json.dumps({"id": "some/vit", "sha": COMMIT, "siblings": siblings}).encode()
            elif path.startswith("/some/vit/resolve/") and name in files:
                content = files[name]
                headers["ETag"] = f'"{hashlib.sha256(content).hexdigest()}"'
            else:
                self.send_response(404)
                self.send_header("X-Error-Code", "RepoNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(200)
            for key, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(key, value)
            self.end_headers()
            if with_body:
                self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


class Answer(NamedTuple):
    """What one command of `saccade` printed, and its exit code."""

    code: int
    out: str
    err: str


COMMANDS = """
import contextlib, io, json, sys
from saccade.cli.main import main
answers = []
for arguments in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    answers.append((code, out.getvalue(), err.getvalue()))
print(json.dumps(answers))
"""


def saccade(*commands: list[str], **environment: str) -> list[Answer]:
    """Run commands one after the other in a fresh process: the hub's library reads its environment once."""
    variables = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    process = subprocess.run(
        [sys.executable, "-c", COMMANDS, json.dumps(commands)],
        capture_output=True, text=True, check=True, env={**variables, **environment},
    )  # fmt: skip
    return [Answer(*answer) for answer in json.loads(process.stdout.splitlines()[-1])]


def test_download_then_offline(tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    model_dir(tmp_path / "ours", "vit")
    convert(tmp_path / "ours", tmp_path / "hf", "huggingface")
    Image.effect_noise((40, 40), 80).save(tmp_path / "a.png")
    server = serve(tmp_path / "hf")
    home = {"HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}"}
    predict = [["predict", f"hub:{name}", str(tmp_path / "a.png")] for name in ("some/vit", "some/other")]
    first, missing = saccade(*predict, **home)
    assert first.code == 0, first.err
    assert "Hugging Face ViT: 32 tensors loaded" in first.err
    assert missing.code == 1
    assert "some/other cannot be downloaded" in missing.err
    server.shutdown()

    again, unknown = saccade(*predict, **home, HF_HUB_OFFLINE="1")
    assert (again.code, again.out) == (0, first.out)
    assert unknown.code == 1
    assert "is not cached and the hub cannot be reached" in unknown.err


def test_a_name_that_is_none() -> None:
    for name in ("hub:", "hub:vit", "hub:../etc", "hub:a/b/c"):
        with pytest.raises(CheckpointError, match="not a hub name"):
            download(name)
