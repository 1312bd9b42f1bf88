"""HTTP/1.1 with limits on slow clients. Loads no torch: see `worker.py`."""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CHUNKS = 65_536  # of a body


class BoundedProtocol(H11Protocol):
    """Closes a connection whose header does not arrive, or whose body has too many chunks."""

    header_seconds = 10.0
    timer: asyncio.TimerHandle | None = None
    chunks = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        next_event = self.conn.next_event

        def counted() -> Any:
            event = next_event()
            self.chunks = self.chunks + 1 if isinstance(event, h11.Data) else 0
            if self.chunks > MAX_CHUNKS:
                raise h11.RemoteProtocolError("too many chunks")
            return event

        self.conn.next_event = counted  # type: ignore[method-assign]
        self.timer = self.loop.call_later(self.header_seconds, self.give_up)

    def data_received(self, data: bytes) -> None:
        if self.timer is None and (self.cycle is None or self.cycle.response_complete):
            self.timer = self.loop.call_later(self.header_seconds, self.give_up)
        super().data_received(data)
        if self.timer is not None and self.cycle is not None and not self.cycle.response_complete:
            self.timer.cancel()
            self.timer = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self.timer is not None:
            self.timer.cancel()
        super().connection_lost(exc)

    def give_up(self) -> None:
        self.timer = None
        self.transport.close()
