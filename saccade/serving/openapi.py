"""The OpenAPI 3.1 description of the server."""

from collections.abc import Sequence
from typing import Any

from saccade.serving.served_model import ServedModel
from saccade.version import __version__

ERROR = {
    "type": "object",
    "required": ["error", "status", "request_id"],
    "properties": {
        "error": {"type": "string"}, "status": {"type": "integer"}, "request_id": {"type": "string"},
    },
}  # fmt: skip
ERRORS = {
    "400": "the input is invalid; the message states why", "401": "the token is missing or wrong",
    "403": "from another site", "404": "there is no such model", "405": "another method",
    "408": "the body was too slow", "413": "the body, or the number of inputs, is too large",
    "415": "another content type", "503": "the queue is full; Retry-After has the seconds", "504": "it took too long",
}  # fmt: skip
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="


def document(models: Sequence[ServedModel], needs_token: bool) -> dict[str, Any]:
    """The OpenAPI document of a server."""
    names = [model.name for model in models]
    name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string", "enum": names}}
    paths: dict[str, Any] = {
        "/live": {"get": operation("Whether the process responds", "live")},
        "/ready": {"get": operation("Whether every model is ready", "ready")},
        "/metrics": {"get": operation("Figures for Prometheus", "metrics", kind="text/plain")},
        "/v1/models": {"get": operation("The models", "models")},
        "/v1/models/{name}": {"get": operation("One model", "model", parameters=[name])},
        "/v1/models/{name}:predict": {"post": predict_operation(name, models)},
    }
    content: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "saccade", "version": __version__},
        "paths": paths,
        "components": {"schemas": {"Error": ERROR}},
    }
    if needs_token:
        content["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        content["security"] = [{"token": []}]
    return content


def operation(
    summary: str, identity: str, *, kind: str = "application/json", parameters: Sequence[dict[str, Any]] = ()
) -> dict[str, Any]:
    """One operation with its errors."""
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    answers = {code: {"description": text, "content": error} for code, text in ERRORS.items()}
    right = {"description": "the answer", "content": {kind: {}}}
    return {
        "summary": summary, "operationId": identity, "parameters": list(parameters),
        "responses": {"200": right, **answers},
    }  # fmt: skip


def predict_operation(name: dict[str, Any], models: Sequence[ServedModel]) -> dict[str, Any]:
    """`POST /v1/models/NAME:predict`."""
    draw = {"name": "draw", "in": "query", "schema": {"type": "integer", "enum": [0, 1]}}
    layer = {"name": "attention", "in": "query", "schema": {"type": "integer", "minimum": -999, "maximum": 999}}
    image = {
        "type": "object", "required": ["b64"], "additionalProperties": False, "properties": {"b64": {"type": "string"}},
    }  # fmt: skip
    items = [image] if any(model.reads_images for model in models) else []
    items += [{"type": "string"}] if any(not model.reads_images for model in models) else []
    schema = {
        "type": "object",
        "required": ["instances"],
        "additionalProperties": False,
        "properties": {"instances": {"type": "array", "minItems": 1, "items": {"anyOf": items}}},
    }
    example = {"instances": [{"b64": PIXEL} if any(model.reads_images for model in models) else "a text"]}
    body: dict[str, Any] = {"application/json": {"schema": schema, "example": example}}
    if any(model.reads_images for model in models):
        body["image/*"] = {"schema": {"type": "string", "format": "binary"}}
        files = {"type": "array", "items": {"type": "string", "format": "binary"}}
        body["multipart/form-data"] = {"schema": {"type": "object", "properties": {"image": files}}}
    post = operation("Predict", "predict", parameters=[name, draw, layer])
    post["requestBody"] = {"required": True, "content": body}
    return post
