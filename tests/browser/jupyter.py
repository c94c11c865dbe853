"""A real JupyterLab and a page of it: what the browser tests drive.

Every test opens a notebook with a name of its own, since a kernel outlives its page and the same path finds it again.
To load JupyterLab takes ten times as long as to open a notebook in it, so one page is loaded for many tests.
Whatever a page asks of another host and every error on its console is kept, to be looked at when the test ends.
"""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import ConsoleMessage, Error, Locator, Page, Request

OUTPUT = Path(__file__).parent / "output"
PATIENCE = 90.0  # seconds; thirty times what the slowest step takes, and five when many others use the machine
SETTINGS = {
    "@jupyterlab/apputils-extension/notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
        "doNotDisturbMode": True,
    },
    "@jupyterlab/docmanager-extension/plugin": {"autosave": False},
}


def for_the_readme(picture: Path) -> None:
    """Put a picture into the README, if ``AGENTLAB_PICTURE=1``."""
    if os.environ.get("AGENTLAB_PICTURE"):
        shutil.copy(picture, Path(__file__).parents[2] / ".github" / picture.name)


def drag_to_the_end(page: Page, brush: Locator, share: float) -> None:
    """Brush from this share of its width to its end, by the pointer."""
    box = brush.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + share * box["width"], box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"], box["y"] + 20, steps=4)
    page.mouse.up()


def wait_for(condition: Callable[[], object], what: str, patience: float = PATIENCE) -> object:
    """Ask until the answer is true, and return it; AssertionError says ``what`` did not happen in time."""
    end = time.monotonic() + patience
    while not (answer := condition()):
        assert time.monotonic() < end, f"{what} did not happen within {patience:g} s"
        time.sleep(0.02)
    return answer


class Server:
    """One JupyterLab on 127.0.0.1 with folders of its own."""

    def __init__(self, home: Path) -> None:
        self.notebooks = home / "notebooks"
        self.notebooks.mkdir()
        self._token = secrets.token_hex(16)
        self._port = _free_port()
        self._log = (home / "server.log").open("w")
        for name, settings in SETTINGS.items():
            file = home / "settings" / f"{name}.jupyterlab-settings"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(settings))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *self._flags()],
            env=os.environ | self._folders(home),
            stdout=self._log,
            stderr=subprocess.STDOUT,
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509  # it only calls prctl
        )
        wait_for(self._answers, "the start of JupyterLab (its log is beside its folders)", 240)

    def url(self, path: str) -> str:
        """The address of a path on this server, token included."""
        return f"http://127.0.0.1:{self._port}/{path}?token={self._token}"

    def write(self, cells: list[str]) -> str:
        """Write a notebook of code cells and return its name, used by nobody before."""
        code = {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": []}
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        notebook = {
            "cells": [code | {"id": f"cell-{number}", "source": cell} for number, cell in enumerate(cells)],
            "metadata": {"kernelspec": kernel},
            "nbformat": 4,
            "nbformat_minor": 5,
        }
        return self.keep(json.dumps(notebook))

    def keep(self, notebook: str) -> str:
        """Write the text of a notebook and return its name, used by nobody before."""
        name = f"{secrets.token_hex(6)}.ipynb"
        (self.notebooks / name).write_text(notebook, encoding="utf-8")
        return name

    def stop_kernels(self) -> None:
        """End every kernel; they outlive their pages."""
        for kernel in json.load(urllib.request.urlopen(self.url("api/kernels"), timeout=PATIENCE)):
            request = urllib.request.Request(self.url(f"api/kernels/{kernel['id']}"), method="DELETE")
            urllib.request.urlopen(request, timeout=PATIENCE).close()

    def close(self) -> None:
        """End the kernels, then the server."""
        self.stop_kernels()
        self._process.terminate()
        self._process.wait(PATIENCE)
        self._log.close()

    def said(self) -> str:
        """What it has printed so far."""
        return Path(self._log.name).read_text(encoding="utf-8")

    def _answers(self) -> bool:
        assert self._process.poll() is None, self.said()
        try:
            urllib.request.urlopen(self.url("api/status"), timeout=5).close()
        except OSError:
            return False
        return True

    def _flags(self) -> list[str]:
        return [
            "--no-browser",
            "--allow-root",
            f"--ServerApp.token={self._token}",
            "--ServerApp.password=",
            "--ServerApp.ip=127.0.0.1",
            f"--ServerApp.port={self._port}",
            "--ServerApp.port_retries=0",
            f"--ServerApp.root_dir={self.notebooks}",
            "--ServerApp.terminals_enabled=False",
            "--LabApp.extension_manager=readonly",
            "--LabApp.news_url=None",
            "--expose-app-in-browser",
            "--JupyterNotebookApp.expose_app_in_browser=True",
        ]

    def _folders(self, home: Path) -> dict[str, str]:
        kinds = (
            "JUPYTER_CONFIG_DIR",
            "JUPYTER_DATA_DIR",
            "JUPYTER_RUNTIME_DIR",
            "JUPYTERLAB_WORKSPACES_DIR",
            "IPYTHONDIR",
        )
        return {kind: str(home / kind.lower()) for kind in kinds} | {"JUPYTERLAB_SETTINGS_DIR": str(home / "settings")}


class Notebook:
    """A notebook open in a page, which may have had others before."""

    def __init__(self, page: Page, server: Server) -> None:
        self.page = page
        self._server = server
        self._name = ""
        self.complaints: list[str] = []
        self._heard: dict[str, Callable[..., None]] = {
            "request": self._asked,
            "console": self._printed,
            "pageerror": self._threw,
        }
        for event, hear in self._heard.items():
            page.on(event, hear)  # type: ignore[call-overload]  # its types know each event by itself

    def open(self, name: str) -> Notebook:
        """Open a notebook of the server and wait for its kernel; JupyterLab is loaded if it is not there."""
        self._name = name
        if self.page.url == "about:blank":
            self._load()
        else:
            self.page.evaluate("path => { window.jupyterapp.commands.execute('docmanager:open', { path }); }", name)
        self.page.wait_for_function(
            """name => {
                const { context, content } = window.jupyterapp?.shell?.currentWidget ?? {};
                const session = context?.path === name && content?.widgets?.length && context.sessionContext;
                return session?.isReady && session.session?.kernel?.status === "idle";
            }""",
            arg=name,
        )
        return self

    def close(self) -> bool:
        """Close it with its kernel; whether JupyterLab is as it was: no dialog is left, and nobody complained."""
        for event, hear in self._heard.items():
            self.page.remove_listener(event, hear)
        if self.complaints or self.page.locator(".jp-Dialog").count():
            return False
        self.page.evaluate(
            """async () => {
                const { shell } = window.jupyterapp, notebook = shell.currentWidget;
                await notebook.sessionContext.shutdown();
                notebook.dispose();
            }"""
        )
        return True

    def _load(self) -> None:
        self.page.goto(self._server.url(f"doc/tree/{self._name}"))

    def write(self, *cells: str) -> Notebook:
        """Open a new notebook of these code cells."""
        return self.open(self._server.write(list(cells)))

    def run_all(self) -> None:
        """Run all cells and wait for the last; none may fail."""
        good = self.page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
        failed = self.page.locator(".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.stderr']")
        assert good, f"a cell failed: {failed.all_inner_texts()}"

    def start_all(self) -> None:
        """Run all cells and do not wait."""
        self.page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")

    def save_and_reload(self) -> None:
        """Save the notebook and load the page anew; the kernel runs on."""
        self.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
        self._load()

    def running(self) -> bool:
        """Whether a cell runs now."""
        return any("*" in prompt for prompt in self.page.locator(".jp-InputPrompt").all_inner_texts())

    def python(self, code: str) -> str:
        """Run code in the notebook's kernel, outside its cells, and return what it printed."""
        return self.page.evaluate(
            """async (code) => {
                const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
                const future = kernel.requestExecute({ code, store_history: false });
                let printed = "";
                future.onIOPub = (message) => {
                    const { msg_type } = message.header, { text, traceback } = message.content;
                    if (msg_type === "stream") printed += text;
                    if (msg_type === "error") printed += traceback.join("\\n");
                };
                await future.done;
                return printed;
            }""",
            code,
        ).strip()

    @property
    def tree(self) -> Locator:
        """The supervision tree."""
        return self.page.locator(".agentlab-tree").first

    def expect(self, mood: str) -> Locator:
        """The tree, scrolled to (out of sight it does not draw), once it is ``live``, ``silent`` or ``closed``."""
        self.tree.wait_for(state="attached")
        self.tree.evaluate("tree => tree.scrollIntoView()")
        self.page.wait_for_selector(f".agentlab-tree[data-painted][data-mood='{mood}']")
        return self.tree

    def row(self, path: str) -> Locator:
        """The row of an agent or a supervisor."""
        return self.tree.locator(f".al-row[data-path='{path}']")

    def expect_life(self, path: str, incarnation: int) -> None:
        """Wait until the row shows this life, running."""
        self.page.wait_for_selector(
            f".al-row[data-path='{path}'][data-incarnation='{incarnation}'][data-status='running']"
        )

    def inspector(self) -> str:
        """What the tree says about the selected one."""
        return self.tree.locator(".al-inspector").inner_text()

    def expect_said(self, text: str) -> None:
        """Wait until the tree says this about the last click."""
        self.tree.locator(".al-said").filter(has_text=text).wait_for()

    def press(self, button: str) -> None:
        """Press one of the tree's buttons."""
        self.tree.locator(f"button.al-do-{button}").click()

    def screenshot(self, name: str) -> Path:
        """Keep a picture of the tree."""
        OUTPUT.mkdir(exist_ok=True)
        file = OUTPUT / f"{name}.png"
        self.tree.screenshot(path=file)
        return file

    def _asked(self, request: Request) -> None:
        host = urlsplit(request.url).hostname
        if host not in ("127.0.0.1", None):
            self.complaints.append(f"asked another host: {request.url}")

    def _threw(self, error: Error) -> None:
        self.complaints.append(f"uncaught in the page: {error.stack}")

    def _printed(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.complaints.append(f"on the console: {message.text} ({message.location['url']})")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def _end_with_parent() -> None:
    """Runs in the new process: a test run that is killed leaves no server behind."""
    PR_SET_PDEATHSIG = 1  # noqa: N806  # the name in prctl(2)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
