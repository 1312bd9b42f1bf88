"""Request bodies: image files, images in forms or as base64 in JSON, texts in JSON. No URL is ever fetched."""

import asyncio
import base64
import binascii
import io
from collections.abc import Sequence
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message, Receive

from saccade.errors import DataError
from saccade.json_io import parse_json
from saccade.serving.settings import Limits

MAX_PARTS = 64  # of a form
FORM_MEMORY = 2**20  # bytes of a form's field that is no file
CLOSE = {"connection": "close"}


def bounded(receive: Receive, limits: Limits) -> Receive:
    """A `receive` that ends a body which is too large or too slow.

    Raises:
        HTTPException: 413 or 408, while it is read.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + limits.body_seconds
    total, whole = 0, False

    async def receive_bounded() -> Message:
        nonlocal total, whole
        if whole:  # what follows the body is the end of the connection, however late
            return await receive()
        try:
            async with asyncio.timeout_at(end):
                message = await receive()
        except TimeoutError:
            raise HTTPException(408, "the body did not arrive in time", CLOSE) from None
        total += len(message.get("body", b""))
        whole = not message.get("more_body", False)
        if total > limits.body_bytes:
            raise too_large(limits)
        return message

    return receive_bounded


def too_large(limits: Limits) -> HTTPException:
    """413 for a body above the limit."""
    return HTTPException(413, f"the body is larger than {limits.body_bytes:,} bytes", CLOSE)


async def read_body(request: Request) -> bytes:
    """The whole body."""
    buffer = io.BytesIO()
    async for part in request.stream():
        buffer.write(part)
    return buffer.getvalue()


async def read_inputs(request: Request, reads_images: bool) -> list[bytes | str]:
    """The inputs in the body of a request.

    Raises:
        HTTPException: 400 or 415.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        return json_inputs(parse_body(await read_body(request)), reads_images)
    if not reads_images:
        raise HTTPException(415, 'this model reads texts: send {"instances": ["a text"]} as application/json')
    if kind == "multipart/form-data":
        async with request.form(max_files=MAX_PARTS, max_fields=MAX_PARTS, max_part_size=FORM_MEMORY) as form:
            inputs: list[bytes | str] = [await f.read() for _, f in form.multi_items() if not isinstance(f, str)]
    elif kind.startswith("image/") or kind == "application/octet-stream":
        inputs = [await read_body(request)]
    else:
        raise HTTPException(
            415, "send an image file as image/* or application/octet-stream, files in a form, or application/json"
        )
    if not inputs or not all(inputs):
        raise HTTPException(400, "there is no image in the body")
    return inputs


def parse_body(content: bytes) -> Any:
    """The value of a JSON body.

    Raises:
        HTTPException: 400.
    """
    try:
        return parse_json(content, "the body")
    except DataError as error:
        raise HTTPException(400, str(error)) from None


def json_inputs(content: Any, reads_images: bool) -> list[bytes | str]:
    """The inputs in `{"instances": [...]}`: texts, or images as `{"b64": "..."}`.

    Raises:
        HTTPException: 400.
    """
    instances = content.get("instances") if isinstance(content, dict) else None
    unknown = sorted(set(content) - {"instances"}) if isinstance(content, dict) else []
    if unknown:
        raise HTTPException(400, f"there is no key {unknown[0]!r}: the body is an object with the key instances")
    if not isinstance(instances, list) or not instances:
        raise HTTPException(400, "the body must be an object whose key instances has a list of inputs")
    return [image_of(one) if reads_images else text_of(one) for one in instances]


def text_of(one: Any) -> str:
    if not isinstance(one, str) or not one.strip():
        raise HTTPException(400, "an instance of this model is a text that is not empty")
    return one


def image_of(one: Any) -> bytes:
    if not isinstance(one, dict) or set(one) != {"b64"} or not isinstance(one["b64"], str):
        raise HTTPException(400, 'an instance of this model is an image file as {"b64": "..."}; no address is fetched')
    return from_base64(one["b64"])


def from_base64(text: str) -> bytes:
    """The bytes of a base64 text.

    Raises:
        HTTPException: 400.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise HTTPException(400, "an image is not base64") from None


def require_places(inputs: Sequence[Any], limits: Limits) -> None:
    """Refuse a request with more inputs than the queue can hold.

    Raises:
        HTTPException: 413.
    """
    if len(inputs) > limits.max_queue:
        raise HTTPException(413, f"a request has at most {limits.max_queue} inputs, this one has {len(inputs)}")
