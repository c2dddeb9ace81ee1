"""Open the page in headless Chromium, where one is installed, and look at what it does.

Chromium is driven through the two pipes of its DevTools protocol, so no client is needed.
"""

import itertools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from medimg_baseline_cls.reporting.page.report_page import write_report

CHROMIUM = next(
    (p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), None
)
DEADLINE_S = 60.0
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--remote-debugging-pipe",
)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed"),
]


class Browser:
    """One tab of a headless Chromium: commands out, answers and events in."""

    def __init__(self, profile: Path) -> None:
        command_read, self._out = os.pipe()
        self._in, event_write = os.pipe()
        # Chromium reads commands from descriptor 3 and writes to 4.
        script = f'exec "$@" 3<&{command_read} 4>&{event_write}'
        options = (*FLAGS, f"--user-data-dir={profile}")
        self._process = subprocess.Popen(
            ["bash", "-c", script, "bash", str(CHROMIUM), *options, "about:blank"],
            pass_fds=(command_read, event_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(command_read)
        os.close(event_write)
        self._numbers = itertools.count(1)
        self._buffer = b""
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        targets = self.send("Target.getTargets")["targetInfos"]
        page = next(t["targetId"] for t in targets if t["type"] == "page")
        attached = self.send("Target.attachToTarget", targetId=page, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def open(self, path: Path) -> None:
        self.events.clear()
        self.send("Page.navigate", url=path.resolve().as_uri())
        end = time.monotonic() + DEADLINE_S
        while self.evaluate("document.readyState") != "complete":
            assert time.monotonic() < end, "the page did not finish loading"
            time.sleep(0.05)

    def resize(self, width: int, height: int = 900) -> None:
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def evaluate(self, expression: str) -> Any:
        result = self.send("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=30)
        os.close(self._out)
        os.close(self._in)

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            part = os.read(self._in, 1 << 16)
            assert part, "Chromium has ended"
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def complaints(self) -> list[Any]:
        kinds = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")
        return [e["params"] for e in self.events if e["method"] in kinds]

    def requests(self) -> list[str]:
        sent = [e["params"] for e in self.events if e["method"] == "Network.requestWillBeSent"]
        return [p["request"]["url"] for p in sent]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


MAKERS = {
    "binary": {},
    "three classes": {"class_names": ("COVID", "NORMAL", "PNEUMONIA")},
    "nine classes, long names": {
        "class_names": tuple(f"A_RATHER_LONG_CLASS_NAME_{i}" for i in range(9)),
        "stem": "x" * 120,
    },
    "training only": {"stages": ("data", "training")},
}


@pytest.mark.parametrize("options", MAKERS.values(), ids=MAKERS.keys())
def test_page_is_quiet_asks_for_nothing_and_fits(
    browser: Browser, make_run: Callable[..., Any], options: dict[str, Any]
) -> None:
    path = write_report(make_run(**options).folder)
    for width in (1280, 400):
        browser.resize(width)
        browser.open(path)
        assert browser.complaints() == []
        outside = [u for u in browser.requests() if not u.startswith("data:")]
        assert outside == [path.resolve().as_uri()]
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
        assert browser.evaluate("document.body.scrollWidth") <= width
        assert browser.evaluate("innerWidth") == width


def test_style_is_applied_and_every_picture_is_drawn(
    browser: Browser, make_run: Callable[..., Any]
) -> None:
    path = write_report(make_run().folder)
    browser.resize(1280)
    browser.open(path)
    assert browser.evaluate("document.compatMode") == "CSS1Compat"
    assert browser.evaluate("getComputedStyle(document.querySelector('nav')).display") == "flex"
    assert browser.evaluate("document.querySelectorAll('img, svg image').length") > 6
    assert browser.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    shared = "[...document.querySelectorAll('svg image, svg.shared use')]"
    assert browser.evaluate(f"{shared}.length") >= 4  # the ROC curve and a panel, twice each
    assert browser.evaluate(f"{shared}.every(i => i.getBoundingClientRect().width > 50)")
    assert (
        browser.evaluate("getComputedStyle(document.querySelector('td.num')).textAlign") == "right"
    )


def test_panel_enlarges_without_a_script(browser: Browser, make_run: Callable[..., Any]) -> None:
    path = write_report(make_run().folder)
    browser.resize(1280)
    browser.open(path)
    width = "document.querySelector('#FP-1 .zoom :is(img, svg)').getBoundingClientRect().width"
    before = browser.evaluate(width)
    browser.evaluate("document.querySelector('#FP-1 .enlarge').click()")
    assert browser.evaluate(width) > 1.8 * before
    browser.evaluate("document.querySelector('#FP-1 .shrink').click()")
    assert browser.evaluate(width) == before


def test_page_shows_no_planted_script(browser: Browser, make_run: Callable[..., Any]) -> None:
    attack = "<img src=x onerror=document.title='owned'><script>document.title='owned'</script>"
    run = make_run()
    config = run.json("config.json")
    run.write_json("config.json", config | {"project": attack, "arch": f"'\">{attack}"})
    browser.resize(400)
    browser.open(write_report(run.folder))
    assert browser.evaluate("document.title").startswith("<img src=x onerror")
    assert browser.evaluate("document.scripts.length") == 1
    assert browser.evaluate("document.querySelectorAll('[onerror]').length") == 0
    assert browser.complaints() == []


SHOWN = "[...document.querySelectorAll('ol.gallery > li')].filter(i => i.offsetHeight > 0)"


def choose(browser: Browser, name: str, value: str) -> None:
    """Choose from a list as a user does: the page hears of the change."""
    found = f"document.querySelector('select[name={name}]')"
    browser.evaluate(f"{found}.value = '{value}'")
    browser.evaluate(f"{found}.dispatchEvent(new Event('change', {{bubbles: true}}))")


def test_mistakes_are_filtered_and_sorted(browser: Browser, make_run: Callable[..., Any]) -> None:
    names = ("COVID", "NORMAL", "PNEUMONIA")
    path = write_report(make_run(names).folder)
    browser.resize(1280)
    browser.open(path)
    total = browser.evaluate(f"{SHOWN}.length")
    output = "document.querySelector('#gallery-controls output').textContent"
    assert browser.evaluate(output) == f"{total} of {total} shown"
    choose(browser, "kind", "FN")
    kinds = browser.evaluate(f"{SHOWN}.map(i => i.dataset.kind)")
    assert set(kinds) == {"FN"}
    assert 0 < len(kinds) < total
    assert browser.evaluate("document.querySelector('h3.FP').offsetHeight") == 0
    assert browser.evaluate(output) == f"{len(kinds)} of {total} shown"
    choose(browser, "class", "1")
    assert set(browser.evaluate(f"{SHOWN}.map(i => i.dataset.class)")) == {"1"}
    choose(browser, "class", "")
    choose(browser, "rule", "2")
    margins = browser.evaluate(f"{SHOWN}.map(i => i.dataset.margins)")
    assert margins
    assert all(" 2:" in f" {text}" for text in margins)
    choose(browser, "order", "score-down")
    scores = [float(s) for s in browser.evaluate(f"{SHOWN}.map(i => i.dataset.score)")]
    assert scores == sorted(scores, reverse=True)
    choose(browser, "order", "margin-up")
    rule = f"{SHOWN}.map(i => Number(/(?:^| )2:(\\S+)/.exec(i.dataset.margins)[1]))"
    shown = browser.evaluate(rule)
    assert shown == sorted(shown)
    choose(browser, "kind", "")
    choose(browser, "rule", "")
    choose(browser, "order", "")
    assert browser.evaluate(f"{SHOWN}.length") == total
    assert browser.complaints() == []


def test_gallery_is_whole_without_its_script(
    browser: Browser, make_run: Callable[..., Any], tmp_path: Path
) -> None:
    page = write_report(make_run().folder).read_text(encoding="utf-8")
    bare = tmp_path / "bare.html"
    bare.write_text(page.replace("<script>", "<script>//x\n"), encoding="utf-8")
    browser.resize(1280)
    browser.open(bare)  # the changed script no longer has the allowed hash
    assert browser.evaluate(f"{SHOWN}.length") == page.count(" data-kind=")
    assert browser.evaluate("document.getElementById('gallery-controls').offsetHeight") == 0
