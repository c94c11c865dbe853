"""One browser and one JupyterLab for all tests, one page and one notebook for each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser.install_browser import NONE_FOUND, find_browser
from tests.browser.jupyter import PATIENCE, Notebook, Server

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


@pytest.fixture
def notebook(browser: Browser, server: Server) -> Iterator[Notebook]:
    """A notebook in a page of its own; in the end the page must have been content and asked nobody else."""
    page = browser.new_page(viewport={"width": 1280, "height": 1000}, device_scale_factor=2)
    page.set_default_timeout(PATIENCE * 1000)
    notebook = Notebook(page, server)
    yield notebook
    page.close()
    server.stop_kernels()
    assert notebook.complaints == []
