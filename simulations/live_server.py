"""A web server for one run's folder: the live page, and the report when it is there."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from rinr_flower.errors import ConfigError, RinrError
from rinr_flower.simulations.live_page import live_content, live_page

LOOPBACK = "127.0.0.1"
_LOCAL = ("localhost", LOOPBACK)


class LiveServer(ThreadingHTTPServer):
    """Serves a run's folder, read-only: ``/`` (page), ``/now`` (its content), ``/report.html``. Nothing else is served.

    Parameters
    ----------
    folder : the run's.
    host, port : to listen on; port 0 takes a free one. On loopback, only requests for a local name are answered: a
        page from elsewhere cannot read it through a name of its own.

    Raises
    ------
    ConfigError
        If it cannot listen there.
    """

    daemon_threads = True

    def __init__(self, folder: Path, host: str = LOOPBACK, port: int = 0) -> None:
        self.folder = folder
        self.local = host in _LOCAL
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            raise ConfigError(
                f"the live page cannot be served on {host}:{port}: {error}; choose another port"
            ) from error

    @property
    def url(self) -> str:
        host, port = self.server_address[:2]
        return f"http://{host!s}:{port}/"


@contextmanager
def served(folder: Path, host: str = LOOPBACK, port: int = 0) -> Iterator[LiveServer]:
    """Serve in a thread while the context lasts."""
    server = LiveServer(folder, host, port)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def address(text: str) -> tuple[str, int]:
    """``PORT``, ``HOST:PORT`` or ``yes`` as host and port, by default a free one on loopback. ConfigError otherwise."""
    if text in ("yes", "true", "on"):
        return LOOPBACK, 0
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        raise ConfigError(f"live: {text!r} is not PORT or HOST:PORT, for example 8080")
    return host or LOOPBACK, int(port)


class _Handler(BaseHTTPRequestHandler):
    server: LiveServer

    def do_GET(self) -> None:
        name = self.headers.get("Host", "").rsplit(":", 1)[0]
        if self.server.local and name not in _LOCAL:
            self.send_error(HTTPStatus.FORBIDDEN, "ask for localhost")
            return
        try:
            if self.path == "/":
                text = live_page(self.server.folder)
            elif self.path == "/now":
                text = str(live_content(self.server.folder))
            elif self.path == "/report.html":
                text = (self.server.folder / "report.html").read_text(encoding="utf-8")
            else:
                self.send_error(HTTPStatus.NOT_FOUND)
                return
        except (OSError, RinrError) as error:
            self.send_error(HTTPStatus.NOT_FOUND, str(error).splitlines()[0][:200])
            return
        data = text.encode("utf-8")
        self.send_response(HTTPStatus.OK)
        for key, value in (
            ("Content-Type", "text/html; charset=utf-8"),
            ("Content-Length", str(len(data))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            ("X-Frame-Options", "DENY"),
            ("Referrer-Policy", "no-referrer"),
        ):
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Requests are not logged."""
