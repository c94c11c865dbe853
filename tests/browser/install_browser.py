"""Find a Chromium for the browser tests, installing one only where there is none, and print its path.

``AGENTLAB_BROWSER`` wins if it is set. Then comes a Chromium or Chrome of the system, then one that Playwright
downloaded earlier. Where there is neither, Debian's package is installed if this user may, else Playwright's own.

    python tests/browser/install_browser.py

prints the path, or ends with exit code 1 and one line on stderr that says what to do.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PACKAGES = ("chromium-headless-shell", "chromium")
"""Debian's. The first is the same Chromium without windows, which nobody sees here: it needs a fifth less CPU."""
MAC_APPS = (
    Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"),
    Path("/Applications/Chromium.app/Contents/MacOS/Chromium"),
)
NONE_FOUND = (
    "No browser for the tests: install Chromium or Google Chrome, "
    "or set AGENTLAB_BROWSER to the path of one, and run make again."
)


def find_browser() -> str | None:
    """Return the path of a Chromium that starts, or None; installs nothing."""
    return next((path for path in _candidates() if _starts(path)), None)


def install_browser() -> str | None:
    """Install a Chromium the first way that works and return its path, or None."""
    for install in (_install_debian_package, _install_playwright_browser):
        if install() and (found := find_browser()):
            return found
    return None


def _candidates() -> Iterator[str]:
    if chosen := os.environ.get("AGENTLAB_BROWSER"):
        yield chosen
        return
    yield from (path for name in NAMES if (path := shutil.which(name)))
    yield from (str(path) for path in MAC_APPS if path.exists())
    yield from _playwright_browser()


def _playwright_browser() -> Iterator[str]:
    # Asking starts Playwright's driver, half a second: so it is asked last, and only where nothing else was found.
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    if Path(path).exists():
        yield path


def _starts(path: str) -> bool:
    # Ubuntu's chromium-browser may be a stub that only asks for a snap; a download may lack system libraries.
    try:
        return subprocess.run([path, "--version"], capture_output=True, timeout=30, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _install_debian_package() -> bool:
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return False
    # Without any font Chromium draws no text, and a slim image has none.
    _run(["apt-get", "update", "-qq"])
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "fonts-dejavu-core"]
    return any(_run([*install, package]) for package in PACKAGES)


def _install_playwright_browser() -> bool:
    return _run([sys.executable, "-m", "playwright", "install", "chromium"])


def _run(command: list[str]) -> bool:
    print("No browser found, running:", " ".join(command), file=sys.stderr)
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    # What the installer says goes to stderr: stdout carries the path alone.
    try:
        return subprocess.run(command, stdout=sys.stderr, env=environment, timeout=900, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def main() -> int:
    """Print the path of a browser, or say what to do; return the exit code."""
    if (found := find_browser() or install_browser()) is None:
        print(NONE_FOUND, file=sys.stderr)
        return 1
    print(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
