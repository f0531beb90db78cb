"""The report page in a real browser: no error, no request, readable at 400 pixels, printable, alive.

Skipped where there is no browser.
"""

import base64

import pytest
from browser import BROWSER, Browser

from rinr_flower.report import RunRecord
from rinr_flower.report.comparison import write_comparison
from rinr_flower.report.write import write_report

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")


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
