"""Chromium, driven by its DevTools protocol through two pipes; and the live page, served to it. For tests and
benchmarks."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

LIMIT_S = 60.0
"""For which an answer, or what a page is to show, is waited for."""
CHROMIUM = next((p for name in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(name))), None)


class Browser:
    """Chromium, spoken to through pipes by its DevTools protocol.

    Args:
        folder: where its profile is kept.
    """

    def __init__(self, folder: Path) -> None:
        if CHROMIUM is None:
            raise RuntimeError("there is no Chromium here: apt-get install chromium")
        (asked, asks), (answers, answered) = os.pipe(), os.pipe()
        # It reads from 3 and writes to 4, which may be among those that the pipes have here.
        ends = [fcntl.fcntl(each, fcntl.F_DUPFD, 10) for each in (asked, answered)]

        def connect() -> None:
            for end, number in zip(ends, (3, 4), strict=True):
                os.dup2(end, number)

        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe"]
        self.process = subprocess.Popen(
            [CHROMIUM, *flags, f"--user-data-dir={folder}", "about:blank"],
            preexec_fn=connect, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._asks, self._answers, self._number, self._read = asks, answers, 0, b""

    def ask(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """What the browser answers to a method of the protocol."""
        self._number += 1
        told: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        told |= {"sessionId": session} if session else {}
        os.write(self._asks, json.dumps(told).encode() + b"\0")
        until = time.monotonic() + LIMIT_S
        while True:
            while b"\0" not in self._read:
                if not select.select([self._answers], [], [], max(0.0, until - time.monotonic()))[0]:
                    raise RuntimeError(f"Chromium does not answer {method}")
                self._read += os.read(self._answers, 1 << 20)
            text, self._read = self._read.split(b"\0", 1)
            answer = json.loads(text)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                found: dict[str, Any] = answer["result"]
                return found

    def close(self) -> None:
        """End it."""
        self.ask("Browser.close")
        self.process.wait(30)


class Page:
    """A page of a browser of its own process.

    Args:
        browser: whose.
        width, height: of the window.
        dark: whether the person likes it dark.
    """

    def __init__(self, browser: Browser, width: int = 1300, height: int = 1500, dark: bool = False) -> None:
        self._browser = browser
        self._target = browser.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = browser.ask("Target.attachToTarget", targetId=self._target, flatten=True)["sessionId"]
        for name in ("Page.enable", "Performance.enable", "HeapProfiler.enable"):
            self.ask(name)
        scale = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.ask("Emulation.setDeviceMetricsOverride", **scale)
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[theme])

    def add(self, script: str) -> None:
        """Have a script run in every page before its own do."""
        self.ask("Page.addScriptToEvaluateOnNewDocument", source=script)

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """What the page answers."""
        return self._browser.ask(method, self._session, **parameters)

    def value(self, script: str) -> Any:
        """The value of a script."""
        found = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(f"{script}: {found['exceptionDetails']}")
        return found["result"].get("value")

    def wait(self, script: str) -> Any:
        """The value of a script, once it is one."""
        until = time.monotonic() + LIMIT_S
        while not (found := self.value(script)):
            if time.monotonic() > until:
                raise RuntimeError(f"the page never had {script}: {self.value('document.body.innerText')}")
            time.sleep(0.02)
        return found

    def open(self, address: str) -> None:
        """Go to an address."""
        self.ask("Page.navigate", url=address)

    def screenshot(self, path: Path, whole: bool = True) -> None:
        """Write a picture of the page."""
        found = self.ask("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(found["data"]))

    def memory(self) -> tuple[float, float]:
        """MB that the page's objects take, and that its process has."""
        self.ask("HeapProfiler.collectGarbage")
        found = {m["name"]: m["value"] for m in self.ask("Performance.getMetrics")["metrics"]}
        return found["JSHeapUsedSize"] / 1e6, self._pss() / 1e6

    def _pss(self) -> float:
        """Of the largest of the browser's processes that show pages."""
        sizes = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                command = (folder / "cmdline").read_bytes()
                if b"--type=renderer" in command and f"--user-data-dir={self._profile}".encode() in command:
                    rollup = (folder / "smaps_rollup").read_text()
                    sizes.append(1024 * float(re.search(r"^Pss: +(\d+)", rollup, re.M)[1]))  # type: ignore[index]
            except (OSError, TypeError):
                continue
        return max(sizes, default=float("nan"))

    @property
    def _profile(self) -> str:
        given: list[str] = self._browser.process.args  # type: ignore[assignment]
        return next(each.split("=", 1)[1] for each in given if each.startswith("--user-data-dir="))

    def close(self) -> None:
        """Close it."""
        self._browser.ask("Target.closeTarget", targetId=self._target)


@contextmanager
def served(*studies: Path | str) -> Iterator[str]:
    """The address of a page that shows studies, once they were read."""
    command = [sys.executable, "-m", "netwright", "serve", *map(str, studies), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert server.stdout is not None
        found = re.search(r"http://\S+", server.stdout.readline())
        assert found, "the page is not served"
        for number in range(len(studies)):
            urllib.request.urlopen(f"{found[0]}api/studies/{number}", timeout=LIMIT_S).read()
        yield found[0]
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(30)
