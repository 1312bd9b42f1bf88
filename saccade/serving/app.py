"""The server as a web application."""

import asyncio
import base64
import os
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive

from saccade.engine.results import Result
from saccade.errors import SaccadeError
from saccade.json_io import dump_json
from saccade.serving.batcher import Batcher, DeadlineError, QueueFullError
from saccade.serving.bodies import read_inputs, require_places
from saccade.serving.guard import Guard, error_response
from saccade.serving.monitor import Monitor
from saccade.serving.open_inference import OpenInference
from saccade.serving.openapi import document
from saccade.serving.served_model import ServedModel
from saccade.serving.settings import ServerSettings
from saccade.serving.tracing import Tracing, start_tracing

PAGE = {"/": "index.html", "/page.js": "page.js", "/page.css": "page.css"}
PAGE_TYPES = {"html": "text/html", "js": "text/javascript", "css": "text/css"}


class Server:
    """The models of a server with their queues, and its endpoints.

    Args:
        settings: settings of the server.
        models: models to serve.
    """

    def __init__(self, settings: ServerSettings, models: Sequence[ServedModel]):
        self.settings = settings
        self.models = {model.name: model for model in models}
        self.monitor = Monitor()
        self.batchers: dict[str, Batcher] = {}

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """The threads and queues, from the start of the event loop to its end."""
        decoders = max(1, (os.cpu_count() or 2) - 1)
        with ThreadPoolExecutor(decoders, "decode") as preparing, ThreadPoolExecutor(1, "model") as running:
            self.running = running
            for name, model in self.models.items():
                monitor = self.monitor.of_model(name)
                self.batchers[name] = Batcher(
                    model.prepare, model.run, preparing, running, self.settings.limits, monitor
                )
            tasks = [asyncio.create_task(batcher.work()) for batcher in self.batchers.values()]
            yield
            for task in tasks:
                task.cancel()

    async def predict(self, name: str, inputs: Sequence[bytes | str], request: Request) -> list[Result]:
        """Predict the inputs of a request.

        Raises:
            HTTPException: 400, 404, 413.
            QueueFullError: the queue is full.
            DeadlineError: the deadline has passed.
        """
        require_places(inputs, self.settings.limits)
        batched = partial(setattr, request.state, "batch_size")
        work = asyncio.ensure_future(self.batchers[name].predict(inputs, self.timeout(request), batched))
        gone = asyncio.ensure_future(disconnected(request.receive))
        try:
            await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise ClientGoneError
            return work.result()
        finally:
            work.cancel()
            gone.cancel()

    def timeout(self, request: Request) -> float:
        """Timeout of a request in seconds: the header X-Timeout-Ms, at most the server's.

        Raises:
            HTTPException: 400, not a number.
        """
        text = request.headers.get("x-timeout-ms")
        if text is None:
            return self.settings.limits.timeout
        if not text.isdecimal() or int(text[:9]) < 1:
            raise HTTPException(400, "x-timeout-ms must be a number of milliseconds above 0")
        return min(int(text[:9]) / 1000, self.settings.limits.timeout)

    def model(self, request: Request) -> ServedModel:
        """The model of a URL.

        Raises:
            HTTPException: 404.
        """
        name = request.path_params["name"]
        if name not in self.models:
            raise HTTPException(404, "there is no such model; GET /v1/models lists them")
        return self.models[name]

    async def predict_v1(self, request: Request) -> Response:
        """`POST /v1/models/NAME:predict`; `?draw=1` adds pictures, `?attention=LAYER` maps."""
        model = self.model(request)
        unknown = sorted(set(request.query_params) - {"draw", "attention"})
        if unknown:
            raise HTTPException(400, f"there is no parameter {unknown[0][:50]!r}; there are draw and attention")
        layer = layer_of(request)
        inputs = await read_inputs(request, model.reads_images)
        results = await self.predict(model.name, inputs, request)
        content: dict[str, Any] = {"model": model.name, "predictions": [plain(result) for result in results]}
        if request.query_params.get("draw", "0") not in ("0", ""):
            pictures = [await self.beside(model.drawn, one, result) for one, result in zip(inputs, results)]
            content["drawn"] = [base64.b64encode(picture).decode() for picture in pictures]
        if layer is not None:
            content["attention"] = [await self.beside(model.attention, one, layer) for one in inputs]
        content["request_id"] = request.state.request_id
        return Response(dump_json(content, indent=None), media_type="application/json")

    async def beside(self, call: Any, *arguments: Any) -> Any:
        """Run a function on the models' thread, between batches."""
        return await asyncio.get_running_loop().run_in_executor(self.running, call, *arguments)

    async def list_v1(self, request: Request) -> Response:
        return JSONResponse({"models": [model.describe() for model in self.models.values()]})

    async def describe_v1(self, request: Request) -> Response:
        if request.path_params["name"].endswith(":predict"):
            raise HTTPException(405, "predict with POST", {"allow": "POST"})
        return JSONResponse(self.model(request).describe())

    async def live(self, request: Request) -> Response:
        """The process answers."""
        return JSONResponse({"live": True})

    async def ready(self, request: Request) -> Response:
        """Models are loaded and warmed up, and none is stuck in a batch."""
        stuck = [name for name, batcher in self.batchers.items() if batcher.is_stuck()]
        return JSONResponse({"ready": not stuck, "stuck": stuck}, status_code=503 if stuck else 200)

    async def metrics(self, request: Request) -> Response:
        return Response(self.monitor.text(), media_type="text/plain; version=0.0.4")

    async def openapi(self, request: Request) -> Response:
        return JSONResponse(document(list(self.models.values()), bool(self.settings.token)))

    def route_of(self, path: str) -> str:
        """The route of a path for metrics and logs, which bounds the number of different paths."""
        for name in self.models:
            if path in (f"/v1/models/{name}:predict", f"/v1/models/{name}", f"/v2/models/{name}/infer"):
                return path
        return path if path in (*PAGE, "/live", "/ready", "/metrics", "/openapi.json", "/v1/models") else "other"


class ClientGoneError(Exception):
    """The client closed its connection before the response."""


def make_app(settings: ServerSettings, models: Sequence[ServedModel], tracing: Tracing | None = None) -> Starlette:
    """The application that serves models."""
    server = Server(settings, models)
    routes = [
        Route("/live", server.live),
        Route("/ready", server.ready),
        Route("/metrics", server.metrics),
        Route("/openapi.json", server.openapi),
        Route("/v1/models", server.list_v1),
        Route("/v1/models/{name}:predict", server.predict_v1, methods=["POST"]),
        Route("/v1/models/{name}", server.describe_v1),
        *OpenInference(server).routes(),
        *(Route(path, page_file) for path in PAGE),
    ]
    handlers = {
        HTTPException: refuse_http,
        SaccadeError: refuse_input,
        QueueFullError: refuse_full,
        DeadlineError: refuse_late,
        ClientGoneError: answer_nobody,
        Exception: refuse_unknown,
    }
    if tracing is None and settings.traces:
        tracing = start_tracing()
    guard = Middleware(Guard, settings, server.monitor, server.route_of, tracing)
    return Starlette(routes=routes, middleware=[guard], exception_handlers=handlers, lifespan=server.lifespan)


def plain(result: Result) -> dict[str, Any]:
    """A result without the name of its input."""
    return {key: value for key, value in result.to_dict().items() if key not in ("image", "name")}


def layer_of(request: Request) -> int | None:
    """The parameter `attention`.

    Raises:
        HTTPException: 400, not the index of a layer.
    """
    text = request.query_params.get("attention")
    if text is None:
        return None
    if not text.removeprefix("-").isdecimal() or len(text) > 4:
        raise HTTPException(400, "attention must be the number of a layer, such as 0 or -1")
    return int(text)


async def disconnected(receive: Receive) -> None:
    """Return when the client has closed its connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def page_file(request: Request) -> Response:
    """One of the files of the page."""
    name = PAGE[request.url.path]
    content = (files("saccade.serving") / "page" / name).read_bytes()
    return Response(content, media_type=PAGE_TYPES[name.rpartition(".")[2]])


async def refuse_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    response = error_response(error.status_code, str(error.detail), number_of(request))
    response.headers.update(error.headers or {})
    return response


async def refuse_input(request: Request, error: Exception) -> Response:
    """The error of an input, in one line."""
    return error_response(400, " ".join(str(error).split())[:500], number_of(request))


async def refuse_full(request: Request, error: Exception) -> Response:
    assert isinstance(error, QueueFullError)
    return error_response(503, str(error), number_of(request), retry_after=error.retry_after)


async def refuse_late(request: Request, error: Exception) -> Response:
    return error_response(504, str(error), number_of(request))


async def answer_nobody(request: Request, error: Exception) -> Response:
    return error_response(499, "the client is gone", number_of(request))


async def refuse_unknown(request: Request, error: Exception) -> Response:
    """An error of the server; its traceback is in the log."""
    return error_response(500, "the server has made a mistake; its log has the details", number_of(request))


def number_of(request: Request) -> str:
    return request.scope.get("state", {}).get("request_id", "")
