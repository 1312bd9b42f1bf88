"""Handling of every request: access, its id, its line in the log, the headers of the response."""

import hmac
import json
import logging
import re
import time
import uuid
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from saccade.serving.bodies import CLOSE, bounded
from saccade.serving.monitor import Monitor
from saccade.serving.settings import LOOPBACK, ServerSettings
from saccade.serving.tracing import Answered, Tracing
from saccade.web import PAGE_HEADERS

OPEN_PATHS = ("/live", "/ready", "/v2/health/live", "/v2/health/ready")  # without a token, for what restarts servers
REQUEST_ID = re.compile(r"[\w.-]{1,64}", re.ASCII)
log = logging.getLogger("saccade.serving")
Refusal = tuple[int, str]


class Guard:
    """Refuses requests that are not allowed, and logs one line per request."""

    def __init__(
        self,
        app: ASGIApp,
        settings: ServerSettings,
        monitor: Monitor,
        route_of: Callable[[str], str],
        tracing: Tracing | None = None,
    ):
        self.app, self.settings, self.monitor, self.route_of = app, settings, monitor, route_of
        self.tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, begin, headers, status = time.perf_counter(), time.time_ns(), Headers(scope=scope), 500
        sent_id = headers.get("x-request-id", "")
        number = sent_id if REQUEST_ID.fullmatch(sent_id) else uuid.uuid4().hex
        state = scope.setdefault("state", {})
        state["request_id"] = number

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).update({**PAGE_HEADERS, "x-request-id": number})
            await send(message)

        refusal = self.refusal(headers, scope["path"])
        app = self.app if refusal is None else error_response(*refusal, number)
        try:
            await app(scope, bounded(receive, self.settings.limits), send_with_headers)
        finally:
            self.record(scope["method"], scope["path"], status, time.perf_counter() - start, number)
            if self.tracing:
                route, batch_size = self.route_of(scope["path"]), state.get("batch_size", 0)
                answered = Answered(scope["method"], route, status, number, batch_size, begin, time.time_ns())
                self.tracing.record(answered, headers)

    def refusal(self, headers: Headers, path: str) -> Refusal | None:
        """(Status, reason) of a refusal; None if the request is allowed."""
        settings = self.settings
        name = headers.get("host", "").removesuffix("]").rpartition(":")[0] or headers.get("host", "")
        if settings.host in LOOPBACK and not settings.token and name.strip("[]") not in LOOPBACK:
            return 403, "this server answers to the names of this machine only"  # a page that rebinds its name
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != headers.get("host"):
            return 403, "this server answers to its own page only"
        if headers.get("content-encoding", "identity").lower() != "identity":
            return 415, "send the body without a content-encoding"
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > settings.limits.body_bytes:
            return 413, f"the body is larger than {settings.limits.body_bytes:,} bytes"
        if settings.token and path not in OPEN_PATHS:
            sent = headers.get("authorization", "").encode("utf-8", "replace")
            if not hmac.compare_digest(sent, f"Bearer {settings.token}".encode()):
                return 401, "send the server's token as `Authorization: Bearer TOKEN`"
        return None

    def record(self, method: str, path: str, status: int, seconds: float, number: str) -> None:
        route = self.route_of(path)
        self.monitor.requests.labels(route, str(status)).inc()
        self.monitor.request_seconds.labels(route).observe(seconds)
        milliseconds = round(1000 * seconds, 1)
        if self.settings.json_log:
            fields = {"method": method, "route": route, "status": status, "ms": milliseconds, "request_id": number}
            log.info("%s", json.dumps(fields))
        else:
            log.info("%s %s %d %s ms %s", method, route, status, milliseconds, number)


def error_response(status: int, message: str, number: str, retry_after: int | None = None) -> JSONResponse:
    """An error as JSON: no paths, no traceback."""
    headers = {} if retry_after is None else {"retry-after": str(retry_after)}
    if status in (408, 413):
        headers |= CLOSE
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    content = {"error": message, "status": status, "request_id": number}
    return JSONResponse(content, status_code=status, headers=headers)
