"""The Open Inference Protocol, version 2, over HTTP, as used by the clients of Triton and KServe.

A model of images has one input, `image`, of BYTES: image files, in JSON as base64. A model of texts has `text`. The one
output is `result`: for each input the JSON that `saccade predict --json` prints.
Tensors may follow the JSON as bytes (the binary extension).
"""

import json
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from saccade.json_io import dump_json
from saccade.serving.bodies import from_base64, parse_body, read_body
from saccade.serving.served_model import ServedModel
from saccade.version import __version__

if TYPE_CHECKING:
    from saccade.serving.app import Server

HEADER_LENGTH = "inference-header-content-length"
LENGTH = struct.Struct("<I")  # before each element of a BYTES tensor
VERSION = "1"


class OpenInference:
    """The endpoints under `/v2`."""

    def __init__(self, server: "Server"):
        self.server = server

    def routes(self) -> list[Route]:
        model, version = "/v2/models/{name}", "/v2/models/{name}/versions/{version}"
        return [
            Route("/v2", self.metadata),
            Route("/v2/health/live", self.server.live),
            Route("/v2/health/ready", self.server.ready),
            *(Route(path, self.model_metadata) for path in (model, version)),
            *(Route(f"{path}/ready", self.model_ready) for path in (model, version)),
            *(Route(f"{path}/infer", self.infer, methods=["POST"]) for path in (model, version)),
        ]

    async def metadata(self, request: Request) -> Response:
        return JSONResponse({"name": "saccade", "version": __version__, "extensions": ["binary_tensor_data"]})

    async def model_metadata(self, request: Request) -> Response:
        model = self._model(request)
        return JSONResponse(
            {
                "name": model.name,
                "versions": [VERSION],
                "platform": "saccade",
                "inputs": [{"name": input_name(model), "datatype": "BYTES", "shape": [-1]}],
                "outputs": [{"name": "result", "datatype": "BYTES", "shape": [-1]}],
            }
        )

    async def model_ready(self, request: Request) -> Response:
        stuck = self.server.batchers[self._model(request).name].is_stuck()
        return JSONResponse({"ready": not stuck}, status_code=503 if stuck else 200)

    async def infer(self, request: Request) -> Response:
        """Predict; the outputs are bytes after the JSON if the request sets the binary extension."""
        model = self._model(request)
        header, tail = split_body(await read_body(request), request.headers.get(HEADER_LENGTH))
        tensor = the_tensor(header, input_name(model))
        contents = elements(tensor, tail)
        inputs: list[bytes | str] = [one if model.reads_images else text_of(one) for one in contents]
        if not model.reads_images and not all(inputs):
            raise HTTPException(400, "a text is empty")
        results = await self.server.predict(model.name, inputs, request)
        values = [dump_json(result.records(), indent=None).encode() for result in results]
        number = header.get("id", "")
        return answer(model.name, number if isinstance(number, str) else "", values, wants_bytes(header))

    def _model(self, request: Request) -> ServedModel:
        if request.path_params.get("version", VERSION) != VERSION:
            raise HTTPException(404, f"there is no such version; the only one is {VERSION}")
        return self.server.model(request)


def input_name(model: ServedModel) -> str:
    return "image" if model.reads_images else "text"


def split_body(body: bytes, length: str | None) -> tuple[dict[str, Any], bytes]:
    """The JSON object of a request, and the bytes of tensors behind it.

    Raises:
        HTTPException: 400.
    """
    if length is not None and (not length.isdecimal() or len(length) > 9 or int(length) > len(body)):
        raise HTTPException(400, f"{HEADER_LENGTH} must be the number of bytes of the JSON, at most the body's")
    end = len(body) if length is None else int(length)
    header = parse_body(body[:end])
    if not isinstance(header, dict):
        raise HTTPException(400, "the body must be a JSON object")
    return header, body[end:]


def the_tensor(header: dict[str, Any], name: str) -> dict[str, Any]:
    """The one input of a request.

    Raises:
        HTTPException: 400.
    """
    tensors = header.get("inputs")
    if not isinstance(tensors, list) or len(tensors) != 1 or not isinstance(tensors[0], dict):
        raise HTTPException(400, f"inputs must be a list with the one input {name}")
    tensor = tensors[0]
    if tensor.get("name") != name or tensor.get("datatype") != "BYTES":
        raise HTTPException(400, f"the input is {name} of datatype BYTES")
    shape = tensor.get("shape")
    sizes = shape if isinstance(shape, list) else []
    if not 1 <= len(sizes) <= 2 or not all(type(n) is int and 0 < n < 10**6 for n in sizes):
        raise HTTPException(400, f"the shape of {name} is [N], or [N, 1], with N above 0")
    if sizes[1:] not in ([], [1]):
        raise HTTPException(400, f"the shape of {name} is [N], or [N, 1]")
    return tensor


def elements(tensor: dict[str, Any], tail: bytes) -> list[bytes]:
    """The elements of a BYTES tensor, from the bytes behind the JSON or from the JSON.

    Raises:
        HTTPException: 400, they are not as many as the shape has.
    """
    parameters = tensor.get("parameters", {})
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    if size is not None:
        if "data" in tensor or size != len(tail):
            raise HTTPException(400, "binary_data_size must be the number of bytes behind the JSON, without data in it")
        contents = list(unpacked(tail))
    else:
        data = tensor.get("data")
        if not isinstance(data, list):
            raise HTTPException(400, "an input has data, or parameters with binary_data_size")
        flat = [inner for one in data for inner in (one if isinstance(one, list) else [one])]
        if tail or not all(isinstance(one, str) for one in flat):
            raise HTTPException(400, "data is a list of strings, and nothing follows the JSON")
        contents = [from_base64(one) if tensor["name"] == "image" else one.encode() for one in flat]
    if len(contents) != tensor["shape"][0] or not all(contents):
        raise HTTPException(400, f"the shape is {tensor['shape']}, and there are {len(contents)} elements")
    return contents


def unpacked(content: bytes) -> Sequence[bytes]:
    """The elements of a BYTES tensor: each with its length before it, 4 bytes little-endian.

    Raises:
        HTTPException: 400, a length leads beyond the end.
    """
    parts, position = [], 0
    while position < len(content):
        start = position + LENGTH.size
        if start > len(content):
            raise HTTPException(400, "the bytes of the tensor end within a length")
        position = start + LENGTH.unpack_from(content, position)[0]
        if position > len(content):
            raise HTTPException(400, "an element of the tensor ends behind its bytes")
        parts.append(content[start:position])
    return parts


def text_of(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise HTTPException(400, "a text is not UTF-8") from None


def wants_bytes(header: dict[str, Any]) -> bool:
    """Whether the outputs should follow the JSON as bytes.

    Raises:
        HTTPException: 400, an output that does not exist.
    """
    outputs, parameters = header.get("outputs") or [{}], header.get("parameters")
    default = isinstance(parameters, dict) and bool(parameters.get("binary_data_output"))
    if not isinstance(outputs, list) or not all(isinstance(one, dict) for one in outputs):
        raise HTTPException(400, "outputs must be a list of objects")
    if any(one.get("name", "result") != "result" for one in outputs):
        raise HTTPException(400, "the only output is result")
    own = outputs[-1].get("parameters")
    return bool(own.get("binary_data", default)) if isinstance(own, dict) else default


def answer(model: str, number: str, values: Sequence[bytes], as_bytes: bool) -> Response:
    """The response of `infer`."""
    output: dict[str, Any] = {"name": "result", "datatype": "BYTES", "shape": [len(values)]}
    tail = b"".join(LENGTH.pack(len(value)) + value for value in values) if as_bytes else b""
    if as_bytes:
        output["parameters"] = {"binary_data_size": len(tail)}
    else:
        output["data"] = [value.decode() for value in values]
    content = {"model_name": model, "model_version": VERSION, "id": number[:200], "outputs": [output]}
    header = json.dumps(content).encode()
    if not as_bytes:
        return Response(header, media_type="application/json")
    headers = {HEADER_LENGTH: str(len(header))}
    return Response(header + tail, media_type="application/octet-stream", headers=headers)
