"""Access to the explorer: only pages that it served itself, on this machine."""

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from saccade.web import PAGE_HEADERS

HOSTS = ("127.0.0.1", "localhost")


class Guard:
    """Refuses requests for another host name (DNS rebinding) or from another site's page, and sets the headers above.

    A link from another site may open the page itself; all other requests from other sites are refused.
    """

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(PAGE_HEADERS)
            await send(message)

        reason = refusal(Headers(scope=scope), scope["path"], scope["method"])
        app = self.app if reason is None else PlainTextResponse(reason, status_code=403)
        await app(scope, receive, send_with_headers)


def refusal(headers: Headers, path: str, method: str) -> str | None:
    """Why a request is refused; None if it is not."""
    host = headers.get("host", "")
    if host.rpartition(":")[0] not in HOSTS and host not in HOSTS:
        return f"the explorer serves {' and '.join(HOSTS)} only"
    origin = headers.get("origin")
    if origin is not None and origin != f"http://{host}":
        return "the explorer accepts requests of its own page only"
    site = headers.get("sec-fetch-site", "none")
    opens_page = path == "/" and method == "GET" and headers.get("sec-fetch-mode") == "navigate"
    if site not in ("same-origin", "none") and not opens_page:
        return "the explorer accepts requests of its own page only"
    return None
