"""Other servers with the same model, the same decoding and the same batches: python peers.py NAME MODEL PORT.

NAME: litserve, bentoml, ray. Each in the way of its own documentation: one process with the model, batches of up to 8
that wait 2 ms. It runs in an interpreter in which they are installed, beside saccade.
"""

import base64
import io
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from saccade.tasks.loading import load

MAX_BATCH, WAIT = 8, 0.002


class Model:
    """A predictor as a function of image files."""

    def __init__(self, path: str):
        self.predictor = load(path)

    def prepare(self, content: bytes) -> Any:
        return self.predictor.read(io.BytesIO(content))

    def run(self, prepared: Sequence[Any]) -> list[dict[str, Any]]:
        values, sizes = zip(*prepared)
        batch = self.predictor.task.input_batch(values, sizes, ["input"] * len(values))
        return [result.to_dict() for result in self.predictor.decode(batch)]


def litserve(path: str, port: int) -> None:
    import litserve

    class Api(litserve.LitAPI):  # type: ignore[misc]
        def setup(self, device: str) -> None:
            self.model = Model(path)

        def decode_request(self, request: dict[str, str]) -> Any:
            return self.model.prepare(base64.b64decode(request["image"]))

        def batch(self, inputs: list[Any]) -> list[Any]:
            return inputs

        def predict(self, inputs: list[Any]) -> list[dict[str, Any]]:
            return self.model.run(inputs)

        def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
            return output

        def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
            return output

    server = litserve.LitServer(Api(max_batch_size=MAX_BATCH, batch_timeout=WAIT), accelerator="cpu", timeout=60)
    server.run(host="127.0.0.1", port=port, num_api_servers=1, generate_client_file=False, log_level="error")


def bentoml(path: str, port: int) -> None:
    """BentoML serves a module: this file again, with the model's path in the environment."""
    environment = {**os.environ, "PEER_MODEL": path}
    command = [sys.executable, "-m", "bentoml", "serve", "peers:BentoModel", "--port", str(port), "--host", "127.0.0.1"]
    sys.exit(subprocess.run([*command, "--working-dir", os.path.dirname(__file__)], env=environment).returncode)


if "PEER_MODEL" in os.environ:
    import bentoml as bento

    @bento.service(workers=1, traffic={"timeout": 60, "max_concurrency": 1000})
    class BentoModel:
        def __init__(self) -> None:
            self.model = Model(os.environ["PEER_MODEL"])

        @bento.api(batchable=True, max_batch_size=MAX_BATCH, max_latency_ms=60_000)
        def predict(self, images: list[str]) -> list[dict]:
            return self.model.run([self.model.prepare(base64.b64decode(text)) for text in images])


def ray(path: str, port: int) -> None:
    from ray import serve
    from starlette.requests import Request

    @serve.deployment(num_replicas=1, max_ongoing_requests=1000)
    class RayModel:
        def __init__(self) -> None:
            self.model = Model(path)

        @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=WAIT)
        async def run(self, images: list[bytes]) -> list[dict[str, Any]]:
            return self.model.run([self.model.prepare(image) for image in images])

        async def __call__(self, request: Request) -> dict[str, Any]:
            return await self.run(await request.body())

    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(RayModel.bind(), route_prefix="/predict")
    while True:
        time.sleep(1)


if __name__ == "__main__":
    name, model, port = sys.argv[1:]
    {"litserve": litserve, "bentoml": bentoml, "ray": ray}[name](model, int(port))
