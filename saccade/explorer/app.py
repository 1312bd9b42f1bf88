"""The explorer as a web application: the page and its endpoints."""

import mimetypes
from importlib.resources import files
from typing import Any
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from saccade.errors import ConfigError, SaccadeError
from saccade.explorer.about import describe_about, describe_distance
from saccade.explorer.believe import MapView, score_of
from saccade.explorer.change import PARAMETERS, Change
from saccade.explorer.describe import describe_model, describe_pair
from saccade.explorer.guard import Guard
from saccade.explorer.measurements import Measurements
from saccade.explorer.session import Recording, Session, thumbnail
from saccade.explorer.streams import Stream
from saccade.explorer.wire import byte_rows, half_rows, image_type
from saccade.version import __version__

MAX_UPLOAD = 32 * 2**20  # bytes of a file
MAX_TEXT_UPLOAD = 2**17  # bytes of a text
BINARY = "application/octet-stream"


def make_app(session: Session) -> Starlette:
    """The application over the models and images of a session."""
    explorer = Explorer(session)
    recording = "/api/models/{model}/images/{image}"
    routes = [
        Route("/api/state", explorer.state),
        Route("/api/measurements", explorer.measurements, methods=["GET", "POST", "DELETE"]),
        Route("/api/models/{model}/about/{what}", explorer.about),
        Route("/api/images", explorer.upload, methods=["POST"]),
        Route("/api/texts", explorer.add_text, methods=["POST"]),
        Route("/api/images/{image}/thumbnail", explorer.thumbnail),
        Route(recording, explorer.recording),
        Route(recording + "/shown", explorer.shown),
        Route(recording + "/drawn", explorer.drawn),
        Route(recording + "/labels", explorer.labels),
        Route(recording + "/relevance", explorer.relevance),
        Route(recording + "/pair", explorer.pair),
        Route(recording + "/values", explorer.values),
        Route(recording + "/distance", explorer.distance),
        Route(recording + "/score", explorer.score),
        Route(recording + "/{stream}/layers/{layer:int}", explorer.layer),
        Route(recording + "/{stream}/layers/{layer:int}/matrix", explorer.matrix),
        Route(recording + "/{stream}/grid", explorer.grid),
        Route(recording + "/{stream}/rollout", explorer.rollout),
        Route("/", page_file),
        Route("/{name}", page_file),
    ]
    return Starlette(routes=routes, middleware=[Middleware(Guard)], exception_handlers={SaccadeError: refuse})


class Explorer:
    """The endpoints of a session."""

    def __init__(self, session: Session):
        self.session = session
        self.measuring = Measurements(session)

    async def state(self, request: Request) -> Response:
        """Models, images and memory."""
        session = self.session
        return JSONResponse(
            {
                "version": __version__,
                "models": [describe_model(key, model) for key, model in session.models.items()],
                "images": session.describe_inputs(),
                "memory": {"used": session.nbytes, "budget": session.budget, "recordings": len(session.recordings)},
                "canChange": True,
                "data": session.data or "",
            }
        )

    async def upload(self, request: Request) -> Response:
        """The body is an image file, the header X-Name its name in UTF-8, percent-encoded."""
        name = printable(request.headers.get("x-name", "")) or "image"
        content = await read_body(request, MAX_UPLOAD)
        key = await run_in_threadpool(self.session.add_image, name, content)
        return JSONResponse({"key": key, "name": name})

    async def add_text(self, request: Request) -> Response:
        """The body is a text in UTF-8."""
        try:
            text = (await read_body(request, MAX_TEXT_UPLOAD)).decode()
        except UnicodeDecodeError:
            raise ConfigError("the text is not UTF-8") from None
        return JSONResponse({"key": self.session.add_text(text), "name": text})

    async def thumbnail(self, request: Request) -> Response:
        image = self.session.image(request.path_params["image"])
        return image_response(await run_in_threadpool(thumbnail, image))

    async def recording(self, request: Request) -> Response:
        """The description of a run, run now if it is not in memory."""
        return JSONResponse((await self._recording(request)).describe())

    async def shown(self, request: Request) -> Response:
        return image_response((await self._recording(request)).shown)

    async def drawn(self, request: Request) -> Response:
        return image_response((await self._recording(request)).drawn)

    async def labels(self, request: Request) -> Response:
        """Probabilities of the labels in the parameter `labels`, separated by commas."""
        model, image = request.path_params["model"], request.path_params["image"]
        labels = list(dict.fromkeys(filter(None, map(str.strip, request.query_params.get("labels", "").split(",")))))
        change = change_of(request, "labels")
        return JSONResponse({"top": await run_in_threadpool(self.session.score_labels, model, image, labels, change)})

    async def relevance(self, request: Request) -> Response:
        """The relevance of every patch for the class in the parameter `label`: ``[N]`` float32."""
        model, image = request.path_params["model"], request.path_params["image"]
        label, change = request.query_params.get("label", ""), change_of(request, "label")
        values = await run_in_threadpool(self.session.relevance, model, image, label, change)
        return Response(values.numpy().astype("<f4").tobytes(), media_type=BINARY)

    async def pair(self, request: Request) -> Response:
        """Relevance of the image and of the label in the parameter `label` for their similarity."""
        model, image = request.path_params["model"], request.path_params["image"]
        label, change = request.query_params.get("label", ""), change_of(request, "label")
        return JSONResponse(describe_pair(await run_in_threadpool(self.session.pair, model, image, label, change)))

    async def values(self, request: Request) -> Response:
        """The values of a prediction for every pixel: ``[h, w]`` float32, in the shape of the description."""
        values = (await self._recording(request)).values
        content = b"" if values is None else values.astype("<f4").tobytes()
        return Response(content, media_type=BINARY, status_code=200 if content else 404)

    async def matrix(self, request: Request) -> Response:
        """Whole matrices of one layer among tokens of a text: ``[H, Q, K]`` float16.

        Attention over an image is too large for that, and is read row by row.
        """
        stream = await self._stream(request)
        if stream.keys.layout is not None:
            raise ConfigError("attention over an image is read by its rows, /layers/LAYER?query=TOKEN")
        return Response(half_rows(stream.matrices(request.path_params["layer"])), media_type=BINARY)

    async def about(self, request: Request) -> Response:
        """One of the tabs of a model."""
        predictor, what = self.session.model(request.path_params["model"]).predictor, request.path_params["what"]

        def describe() -> dict[str, Any]:
            with self.session.running():
                return describe_about(predictor, what)

        return JSONResponse(await run_in_threadpool(describe))

    async def distance(self, request: Request) -> Response:
        """Attention distance of the heads of a run."""
        return JSONResponse(await run_in_threadpool(describe_distance, await self._recording(request)))

    async def score(self, request: Request) -> Response:
        """Reliability of a map; parameters show, layer, head, query, label, and those of a change."""
        model, image, values = request.path_params["model"], request.path_params["image"], request.query_params
        change = change_of(request, "show", "layer", "head", "query", "label")
        layer, head = (number_of(values.get(name, "0"), name) for name in ("layer", "head"))
        view = MapView(values.get("show", "rollout"), layer, head, query_of(request), values.get("label", ""))
        return JSONResponse(await run_in_threadpool(score_of, self.session, model, image, change, view))

    async def measurements(self, request: Request) -> Response:
        """All measurements; POST starts one, with parameters model, kind, images and limit; DELETE stops it."""
        if request.method == "DELETE":
            self.measuring.stop()
        if request.method == "POST":
            values = request.query_params
            limit = number_of(values.get("limit", "200"), "limit")
            self.measuring.start(values.get("model", "0"), values.get("kind", ""), values.get("images", "here"), limit)
        return JSONResponse({"measurements": [one.describe() for one in self.measuring.list()]})

    async def layer(self, request: Request) -> Response:
        """The rows of every head of one layer for one query: ``[H, K]`` float16."""
        rows = (await self._stream(request)).rows(request.path_params["layer"], query_of(request))
        return Response(half_rows(rows), media_type=BINARY)

    async def grid(self, request: Request) -> Response:
        """The rows of every head of every layer for one query, one byte per weight: see
        :mod:`saccade.explorer.wire`."""
        rows = (await self._stream(request)).all_rows(query_of(request))
        return Response(byte_rows(rows), media_type=BINARY)

    async def rollout(self, request: Request) -> Response:
        """The rollout of one query: ``[K]`` float16."""
        row = await run_in_threadpool((await self._stream(request)).rollout, query_of(request))
        return Response(half_rows(row), media_type=BINARY)

    async def _stream(self, request: Request) -> Stream:
        return (await self._recording(request)).stream(request.path_params["stream"])

    async def _recording(self, request: Request) -> Recording:
        model, image = request.path_params["model"], request.path_params["image"]
        change = change_of(request, "query")
        recording = self.session.recordings.get((model, image, change))
        if recording is None:  # a run takes long, reading what is in memory does not
            recording = await run_in_threadpool(self.session.recording, model, image, change)
        return recording


def change_of(request: Request, *others: str) -> Change:
    """The change that a request's parameters describe.

    Raises:
        ConfigError: an unknown parameter.
    """
    unknown = sorted(set(request.query_params) - {*PARAMETERS, *others})
    if unknown:
        raise ConfigError(f"there is no parameter {unknown[0]!r}; there are {', '.join((*others, *PARAMETERS))}")
    return Change.from_query(request.query_params)


def number_of(text: str, name: str) -> int:
    """A parameter that is a number.

    Raises:
        ConfigError: it is not a number.
    """
    if not text.isdecimal() or len(text) > 9:
        raise ConfigError(f"{name} must be a number from 0 on, not {text!r}")
    return int(text)


def query_of(request: Request) -> int | str:
    """The parameter `query`: a token's index or a name; 0 by default."""
    text = request.query_params.get("query", "0")
    return int(text) if text.isdecimal() and len(text) < 10 else text


def printable(encoded: str) -> str:
    """A percent-encoded file name for display: at most 200 printable characters."""
    from_url = "".join(c for c in unquote(encoded) if c.isprintable())
    return from_url.strip()[:200]


async def read_body(request: Request, limit: int) -> bytes:
    """The body of a request, read up to the limit.

    Raises:
        HTTPException: 413, a larger one.
    """
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > limit:
            raise HTTPException(413, f"the file is larger than {limit // 2**20} MiB")
    return bytes(content)


def image_response(content: bytes) -> Response:
    return Response(content, media_type=image_type(content), status_code=200 if content else 404)


async def page_file(request: Request) -> Response:
    """One of the files of the page."""
    name = request.path_params.get("name", "index.html")
    if name not in page_names():
        raise HTTPException(404, "there is no such page")
    kind = "text/javascript" if name.endswith(".js") else mimetypes.guess_type(name)[0] or BINARY
    return Response((files("saccade.explorer") / "page" / name).read_bytes(), media_type=kind)


def page_names() -> list[str]:
    """The files of the page."""
    return sorted(file.name for file in (files("saccade.explorer") / "page").iterdir())


async def refuse(request: Request, error: Exception) -> Response:
    """An error of the input as JSON: the message, for the page to show."""
    return JSONResponse({"error": str(error)}, status_code=400)
