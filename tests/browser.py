"""Drives a headless Chromium over its DevTools pipe, with the standard library alone.

    with open_browser(profile) as browser:
        page = browser.open_page(path, width=390)
        page.evaluate("document.title")

The pipe carries JSON messages that end in NUL: those to the browser on its descriptor 3, those from
it on 4 (`--remote-debugging-pipe`). Methods and events are those of the DevTools protocol:
https://chromedevtools.github.io/devtools-protocol/
"""

import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--remote-debugging-pipe"),
)
# A child's descriptors 3 and 4 may be what Python itself starts it with, so they are put in place
# one step later.
LAUNCH = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(each), fcntl.F_DUPFD, 10) for each in sys.argv[1:3]]
for place, end in enumerate(ends, start=3):
    os.dup2(end, place)
    os.close(end)
os.execv(sys.argv[3], sys.argv[3:])
"""
SECONDS = 300.0
"""How long any one answer may take."""


@dataclass
class Browser:
    requests: int
    """Descriptor that is written to."""
    answers: int
    """Descriptor that is read from."""
    buffer: bytes = b""
    sent: int = 0
    events: list[dict[str, Any]] = field(default_factory=list)

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result; events that come before it are kept."""
        self.sent += 1
        message = {"id": self.sent, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        os.write(self.requests, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self.sent:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def wait_for(self, method: str, session: str) -> None:
        """Wait until a session has had an event."""
        while not any(
            each["method"] == method and each.get("sessionId") == session for each in self.events
        ):
            self.events.append(self._receive())

    def open_page(self, path: Path, width: int, *, is_phone: bool = False) -> "Page":
        """Open a file in a tab of its own, `width` CSS pixels wide, and wait until it is loaded."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        page = Page(self, attached["sessionId"], path.as_uri())
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(f"{domain}.enable")
        size = {"width": width, "height": 800, "deviceScaleFactor": 3 if is_phone else 1}
        page.call("Emulation.setDeviceMetricsOverride", mobile=is_phone, **size)
        page.call("Page.navigate", url=page.address)
        self.wait_for("Page.loadEventFired", page.session)
        return page

    def _receive(self) -> dict[str, Any]:
        deadline = time.monotonic() + SECONDS
        while b"\0" not in self.buffer:
            left = max(0.0, deadline - time.monotonic())
            if not select.select([self.answers], [], [], left)[0]:
                raise TimeoutError(f"no answer of the browser in {SECONDS:g} s")
            chunk = os.read(self.answers, 1 << 20)
            if not chunk:
                raise EOFError("the browser ended")
            self.buffer += chunk
        message, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(message)


@dataclass
class Page:
    browser: Browser
    session: str
    address: str

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self.browser.call(method, self.session, **parameters)

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression; what it throws is raised."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["exception"]["description"])
        return answer["result"].get("value")

    def click(self, element: str) -> None:
        """Click where an element (a JavaScript expression) is, as a mouse does."""
        x, y = self.evaluate(
            f"""(() => {{
                const element = {element};
                element.scrollIntoView({{block: "center", inline: "center"}});
                const box = element.getBoundingClientRect();
                return [box.x + box.width / 2, box.y + box.height / 2];
            }})()"""
        )
        for kind in ("mousePressed", "mouseReleased"):
            at = {"x": x, "y": y, "button": "left", "clickCount": 1}
            self.call("Input.dispatchMouseEvent", type=kind, **at)

    def press(self, key: str, code: int, text: str = "") -> None:
        """Press and release a key, as a keyboard does."""
        named = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **named)
        self.call("Input.dispatchKeyEvent", type="keyUp", **named)

    def list_errors(self) -> list[str]:
        """Everything that the console shows as an error or a warning."""
        errors = []
        for event in self._list_events("Runtime.exceptionThrown"):
            errors.append(str(event["exceptionDetails"]))
        for event in self._list_events("Log.entryAdded"):
            if event["entry"]["level"] in ("error", "warning"):
                errors.append(event["entry"]["text"])
        for event in self._list_events("Runtime.consoleAPICalled"):
            if event["type"] in ("error", "warning", "assert"):
                errors.append(str(event["args"]))
        return errors

    def list_requests(self) -> list[str]:
        """Addresses that the page asked for; its own comes first."""
        requests = self._list_events("Network.requestWillBeSent")
        return [event["request"]["url"] for event in requests]

    def _list_events(self, method: str) -> Iterator[dict[str, Any]]:
        for event in self.browser.events:
            if event["method"] == method and event.get("sessionId") == self.session:
                yield event["params"]


@contextmanager
def open_browser(profile: Path) -> Iterator[Browser]:
    """Start Chromium with a profile folder of its own; end it afterwards."""
    assert CHROMIUM is not None
    requests, answers = os.pipe(), os.pipe()
    ends = (requests[0], answers[1])
    launch = [sys.executable, "-I", "-S", "-c", LAUNCH, *map(str, ends)]
    process = subprocess.Popen(
        [*launch, CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
        pass_fds=ends,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for end in ends:
        os.close(end)
    try:
        browser = Browser(requests[1], answers[0])
        yield browser
        browser.call("Browser.close")
    finally:
        for end in (requests[1], answers[0]):
            os.close(end)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
