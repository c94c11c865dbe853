"""The widgets' JavaScript without a browser, by node's own test runner: the node that Playwright brings along."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from playwright._impl._driver import compute_driver_executable

HERE = Path(__file__).parent / "javascript"


def test_the_javascript_passes_its_own_tests():
    """What views keep, and what they make of text: no page is needed for that."""
    node = compute_driver_executable()[0]
    files = sorted(str(path) for path in HERE.glob("*.test.mjs"))

    done = subprocess.run(
        [node, "--test", "--test-reporter=tap", *files], capture_output=True, text=True, timeout=100, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"^# pass (\d+)$", done.stdout, re.MULTILINE)
    assert passed is not None
    assert int(passed[1]) >= len(files)
