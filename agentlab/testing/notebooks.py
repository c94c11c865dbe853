"""One notebook as a test: run cell by cell in a kernel of its own, and each output held against the stored one."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from agentlab.errors import InvalidArgument
from agentlab.ground.given import file_of, seconds
from agentlab.testing import SANITIZE


def notebook(
    path: str | os.PathLike[str], *, timeout: float = 60.0, sanitize: str | os.PathLike[str] | None = None
) -> None:  # fmt: skip
    """Run a notebook under strict nbval, from a test: ``notebook("eval.ipynb")``.

    Its cells run in a fresh kernel of this interpreter, in the notebook's folder; each must give the very output that
    is stored, but for what ``agentlab-nbval-sanitize.cfg`` names: addresses, times, process numbers.

    Args:
        path: The notebook; from the working directory.
        timeout: Seconds for each cell.
        sanitize: Another file of what may differ, instead of agentlab's.

    Raises:
        InvalidArgument: There is no such notebook, or no nbval: ``pip install nbval``.
        AssertionError: A cell raised, or gave another output; nbval's report says which.
    """
    found = file_of(path, "notebook: path").resolve()
    rules = SANITIZE if sanitize is None else file_of(sanitize, "notebook: sanitize").resolve()
    limit = seconds(timeout, "notebook: timeout")
    for file in (found, rules):
        if not file.is_file():
            raise InvalidArgument(f"notebook: there is no file {str(file)!r}.", argument="path")
    if importlib.util.find_spec("nbval") is None:
        raise InvalidArgument("notebook: nbval runs it, and is not installed: pip install nbval.", argument="path")
    done = _run(found, rules, limit)
    if done.returncode:
        raise AssertionError(f"{found.name} does not give what it shows:\n{done.stdout}{done.stderr}")


def _run(found: Path, rules: Path, limit: float) -> subprocess.CompletedProcess[str]:
    """Pytest anew: neither options nor the conftest of the test that asks, nor other plugins, have a say in it."""
    around = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_CORE"))}
    around["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # some take longer to load than a notebook to run
    with tempfile.TemporaryDirectory(prefix="agentlab-nbval-") as folder:
        config = Path(folder, "pytest.ini")
        config.write_text("[pytest]\n", encoding="utf-8")
        command = [
            sys.executable, "-m", "pytest", "-q", "-c", str(config), "--rootdir", str(found.parent), "--noconftest",
            "-p", "no:cacheprovider", "-p", "nbval.plugin", "--nbval", "--nbval-current-env",
            "--nbval-sanitize-with", str(rules), f"--nbval-cell-timeout={max(1, round(limit))}", str(found),
        ]  # fmt: skip
        return subprocess.run(command, cwd=found.parent, env=around, capture_output=True, text=True, check=False)
