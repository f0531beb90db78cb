"""The report page in a real browser: no error, no request, readable at 400 pixels, printable, alive.

Needs chromium (or google-chrome); skipped where there is none. Spoken to over DevTools pipes, nothing but the standard
library.
"""

import base64
import itertools
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from rinr_flower.report import RunRecord
from rinr_flower.report.comparison import write_comparison
from rinr_flower.report.write import write_report

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")


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
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 600
        )
        self.events.clear()
        self.call("Page.navigate", url=Path(path).as_uri())
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


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def pages(saved_run, tmp_path_factory):
    """A report of a run with long and hostile names, and a comparison of two."""
    folder = tmp_path_factory.mktemp("pages")
    record = RunRecord.load(saved_run)
    write_report(record, folder)
    return {"report": folder / "report.html", "comparison": write_comparison([record, record], folder)}


@pytest.mark.parametrize("name", ["report", "comparison"])
@pytest.mark.parametrize("width", [1200, 400])
def test_no_error_no_request_no_overflow(browser, pages, name, width):
    browser.open(pages[name], width)
    messages, urls = browser.complaints()
    assert messages == []
    assert urls == [pages[name].as_uri()]
    assert browser.js("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    sizes = "[...document.querySelectorAll('p, td, h1, h2, figcaption')].map(e => getComputedStyle(e).fontSize)"
    assert min(float(size.removesuffix("px")) for size in browser.js(sizes)) >= 13
    if name == "report":  # text inside figures is drawn, at 9 points of the figure's own scale
        scales = "s => s.getBoundingClientRect().width / s.viewBox.baseVal.width"
        assert min(browser.js(f"[...document.querySelectorAll('figure svg')].map({scales})")) * 9 >= 9


def test_pictures_are_shown(browser, pages):
    browser.open(pages["report"], 1200)
    assert browser.js("document.images.length") == 4
    assert browser.js("[...document.images].every(i => i.complete && i.naturalWidth > 50)")


def test_marks_have_tooltips(browser, pages):
    browser.open(pages["report"], 1200)
    assert browser.js("document.getElementById('tip').hidden")
    text = browser.js(
        "(() => { const m = document.querySelector('.mark'); m.dispatchEvent(new PointerEvent('pointerenter'));"
        " return document.getElementById('tip').textContent; })()"
    )
    assert "webp" in text or "jpeg" in text
    assert not browser.js("document.getElementById('tip').hidden")
    browser.js("document.querySelector('.mark').dispatchEvent(new PointerEvent('pointerleave'))")
    assert browser.js("document.getElementById('tip').hidden")


def test_tables_sort(browser, pages):
    browser.open(pages["report"], 1200)
    column = "[...document.querySelector('table').tBodies[0].rows].map(r => Number(r.cells[5].dataset.value))"
    click = "document.querySelector('table').tHead.rows[0].cells[5].querySelector('button').click()"
    before = browser.js(column)
    assert len(before) >= 3
    browser.js(click)
    assert browser.js(column) == sorted(before)
    browser.js(click)
    assert browser.js(column) == sorted(before, reverse=True)


def test_it_prints(browser, pages):
    browser.open(pages["report"], 1200)
    pdf = base64.b64decode(browser.call("Page.printToPDF", printBackground=True)["data"])
    assert pdf.startswith(b"%PDF")
    assert 2 <= pdf.count(b"/Type /Page\n") <= 20
