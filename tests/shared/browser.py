"""A headless browser, spoken to over DevTools pipes with nothing but the standard library.

Needs chromium (or google-chrome).
"""

import itertools
import json
import os
import shutil
import subprocess
from pathlib import Path

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)


class Browser:
    """A headless browser with one page, over --remote-debugging-pipe."""

    def __init__(self, home):
        read_commands, self._write = os.pipe()
        self._read, write_answers = os.pipe()

        flags = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--remote-debugging-pipe",
            f"--user-data-dir={home}",
        ]
        # the browser reads commands from descriptor 3 and answers on 4
        wiring = f'exec "$@" 3</dev/fd/{read_commands} 4>/dev/fd/{write_answers}'
        self._process = subprocess.Popen(
            ["sh", "-c", wiring, "sh", BROWSER, *flags, "about:blank"],
            pass_fds=(read_commands, write_answers),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(read_commands)
        os.close(write_answers)
        self._buffer, self._ids, self._session = b"", itertools.count(1), None
        self.events = []
        target = next(t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Log", "Runtime", "Network"):
            self.call(f"{domain}.enable")

    def _message(self):
        while b"\0" not in self._buffer:
            data = os.read(self._read, 1 << 20)
            if not data:
                raise RuntimeError("the browser has gone")
            self._buffer += data
        message, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, **parameters):
        number = next(self._ids)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._message()
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def open(self, path, width):
        """Open a file, or a page by its URL."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 600
        )
        self.events.clear()
        self.call("Page.navigate", url=path if str(path).startswith("http") else Path(path).as_uri())
        while not any(e.get("method") == "Page.loadEventFired" for e in self.events):
            self.events.append(self._message())

    def js(self, expression):
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def complaints(self):
        """Console messages, log entries, exceptions, and requests that leave the page."""
        self.js("1")  # everything that the page has caused so far has arrived before this answer
        kinds = ("Runtime.consoleAPICalled", "Log.entryAdded", "Runtime.exceptionThrown")
        found = [e["params"] for e in self.events if e.get("method") in kinds]
        urls = [e["params"]["request"]["url"] for e in self.events if e.get("method") == "Network.requestWillBeSent"]
        return found, [url for url in urls if not url.startswith("data:")]

    def close(self):
        self._session = None
        try:
            self.call("Browser.close")
        finally:
            self._process.wait(30)
            os.close(self._write)
            os.close(self._read)
