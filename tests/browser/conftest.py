"""One browser, one JupyterLab and, as long as it is whole, one page for all tests; a notebook for each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

from tests.browser.install_browser import NONE_FOUND, find_browser
from tests.browser.jupyter import OUTPUT, PATIENCE, Notebook, Server

SIZE: ViewportSize = {"width": 1280, "height": 1000}
FLAGS = [
    "--no-sandbox",  # root in a container has no other choice
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
expect.set_options(timeout=PATIENCE * 1000)  # its own five seconds are a pause of a busy machine


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder drives a browser."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The system's Chromium, headless; without one the test fails, since nothing was tested."""
    path = find_browser()
    if path is None:
        pytest.fail(NONE_FOUND, pytrace=False)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, headless=True, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A JupyterLab that knows nothing of this machine's settings."""
    server = Server(tmp_path_factory.mktemp("jupyter"))
    yield server
    server.close()


class Pages:
    """The page that all tests use, and the next one when a test has left it otherwise than it was."""

    def __init__(self, browser: Browser) -> None:
        # Pages of one context share what was downloaded and compiled.
        self._context = browser.new_context(viewport=SIZE, device_scale_factor=2)
        self._context.set_default_timeout(PATIENCE * 1000)
        self._page: Page | None = None

    def get(self) -> Page:
        """A page in which JupyterLab is loaded, or an empty one."""
        self._page = self._page or self._context.new_page()
        self._page.set_viewport_size(SIZE)
        return self._page

    def drop(self) -> None:
        """Nobody shall use this page any more."""
        if self._page is not None:
            self._page.close()
        self._page = None


@pytest.fixture(scope="session")
def pages(browser: Browser) -> Iterator[Pages]:
    """The pages of this run, one after the other."""
    pages = Pages(browser)
    yield pages
    pages.drop()


@pytest.fixture
def notebook(request: pytest.FixtureRequest, pages: Pages, server: Server) -> Iterator[Notebook]:
    """A notebook in a page; in the end the page must have been content and asked nobody else."""
    failures = request.session.testsfailed
    notebook = Notebook(pages.get(), server)
    yield notebook
    failed = request.session.testsfailed > failures
    if failed:  # what was on the screen then, and what the server said last
        notebook.page.screenshot(path=OUTPUT / f"failed-{request.node.name}.png")
        print(server.said()[-5000:])
    if failed or not notebook.close():
        pages.drop()
    server.stop_kernels()
    assert notebook.complaints == [], server.said()[-5000:]
