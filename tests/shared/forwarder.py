"""A TCP forwarder that counts bytes: what a device's link to the SuperLink carries, whatever protocol runs in it."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass


@dataclass
class Traffic:
    """Bytes of TCP payload, so with TLS and HTTP and without TCP/IP headers, and how many connections carried them."""

    up: int = 0
    down: int = 0
    connections: int = 0

    def since(self, before: Traffic) -> Traffic:
        return Traffic(self.up - before.up, self.down - before.down, self.connections - before.connections)


class Forwarder:
    """Listens on a port of its own on 127.0.0.1 and passes every connection on to ``target``, in a thread of its own.

    Attributes
    ----------
    port : where it listens.
    traffic : counted so far; ``up`` is towards ``target``.
    """

    def __init__(self, target: int) -> None:
        self.traffic = Traffic()
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop
        ).result(10)
        self.port: int = self._server.sockets[0].getsockname()[1]

    def read(self) -> Traffic:
        """Return a copy of the counts until now."""
        return Traffic(self.traffic.up, self.traffic.down, self.traffic.connections)

    def close(self) -> None:
        """End all connections and the thread."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _close(self) -> None:
        self._server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.traffic.connections += 1
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:  # the SuperLink is down: the device sees a closed connection
            writer.close()
            return
        try:
            await asyncio.gather(self._pass(reader, far_writer, "up"), self._pass(far_reader, writer, "down"))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            far_writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: str) -> None:
        while data := await reader.read(65536):
            setattr(self.traffic, way, getattr(self.traffic, way) + len(data))
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
