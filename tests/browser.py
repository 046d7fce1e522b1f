"""A headless Chromium for tests, driven through its DevTools protocol over a pipe: no other package is needed."""

import base64
import contextlib
import json
import os
import select
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium")


class Browser:
    """A tab.

    Attributes:
        requests: addresses that the tab has asked for.
        messages: what pages wrote to the console as errors.
    """

    def __init__(self, reader: int, writer: int):
        self._reader, self._writer, self._buffer, self._number = reader, writer, b"", 0
        self._session: str | None = None
        self.requests: list[str] = []
        self.messages: list[str] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "DOM", "Network", "Log"):
            self._call(f"{domain}.enable")

    def open(self, url: str, *, width: int = 1200, height: int = 900) -> None:
        """Load a page in a window of a size, px."""
        self.resize(width, height)
        self._call("Page.navigate", url=url)

    def resize(self, width: int, height: int = 900) -> None:
        """Give the window another size, px."""
        self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        answer = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait(self, script: str, timeout: float = 60) -> Any:
        """Wait until a JavaScript expression is true, and give its value."""
        end = time.monotonic() + timeout
        while not (value := self.run(script)):
            assert time.monotonic() < end, (
                f"{script} is not true after {timeout} s: {self.run('document.body.innerText')}"
            )
            time.sleep(0.2)
        return value

    def wait_for_message(self) -> str:
        """Wait until the console has an error, and give the last one."""
        while not self.messages:
            self._note(self._read())
        return self.messages[-1]

    def choose_file(self, selector: str, path: Path) -> None:
        """Choose a file in an input, as a user does in the dialogue."""
        root = self._call("DOM.getDocument")["root"]["nodeId"]
        node = self._call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self._call("DOM.setFileInputFiles", nodeId=node, files=[str(path.resolve())])

    def picture(self, path: Path) -> None:
        """Save a picture of the whole page."""
        size = self._call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        answer = self._call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(answer["data"]))

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._writer, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            self._note(answer)

    def _note(self, event: dict[str, Any]) -> None:
        parameters = event.get("params", {})
        if event.get("method") == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif event.get("method") == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.messages.append(parameters["entry"]["text"])

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            assert select.select([self._reader], [], [], 120)[0], "the browser does not answer"
            part = os.read(self._reader, 1 << 20)
            assert part, "the browser has ended"
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)


@contextlib.contextmanager
def browser(profile: Path, *options: str) -> Iterator[Browser]:
    """Start Chromium; it ends with the block.

    Args:
        profile: an empty folder.
        options: of the command line.
    """
    commands, answers = os.pipe(), os.pipe()
    flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}", "--remote-debugging-pipe"]
    # It reads commands from file 3 and writes answers to file 4.
    command = f"exec {shlex.join([str(CHROMIUM), *flags, *options])} 3<&{commands[0]} 4>&{answers[1]}"
    process = subprocess.Popen(
        ["bash", "-c", command],
        pass_fds=[commands[0], answers[1]],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(commands[0])
    os.close(answers[1])
    try:
        yield Browser(answers[0], commands[1])
    finally:
        process.terminate()
        process.wait(30)
        os.close(commands[1])
        os.close(answers[0])
