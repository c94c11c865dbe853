"""The widgets' JavaScript without a browser: its tests and its types, by the node that Playwright brings along."""

from __future__ import annotations

import functools
import http.server
import re
import subprocess
import threading
from pathlib import Path

import pytest
from playwright._impl._driver import compute_driver_executable

from agentlab_widgets.charts import ChartsWidget
from agentlab_widgets.dashboard import DashboardWidget
from agentlab_widgets.inspector import InspectorWidget
from agentlab_widgets.live import HERE as WIDGETS
from agentlab_widgets.progress import ProgressWidget
from agentlab_widgets.transcript import TranscriptWidget
from agentlab_widgets.tree import TreeWidget
from tests.javascript.get_typescript import VERSION, get

HERE = Path(__file__).parent / "javascript"
SHOWN = (TreeWidget, InspectorWidget, TranscriptWidget, DashboardWidget, ChartsWidget, ProgressWidget)
STRICT = ("--strict", "--noImplicitAny", "false")  # what a value may be is noted, by JSDoc, where it helps a reader
TARGET = ("--target", "es2022", "--lib", "es2022,dom,dom.iterable", "--typeRoots", ".")


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


def test_the_javascript_has_no_type_error(tmp_path: Path):
    """What a browser gets of each widget, as one module: every name is there, and is used as what it is."""
    modules = {widget.__name__: widget._esm for widget in SHOWN}

    assert type_errors(tmp_path, modules) == []


def test_a_type_error_is_found_where_it_stands(tmp_path: Path):
    """With the name of the file that was joined, and its own line there: another name, too much given, no number."""
    first, second = (WIDGETS / name for name in ("live.js", "parts.js"))
    wrong = "\nwrites();\ncalm(1);\nSILENCE.big();\nexport default 1;\n"
    end = len(second.read_text("utf-8").splitlines())

    found = type_errors(tmp_path, {"Wrong": first.read_text("utf-8") + "\n" + second.read_text("utf-8") + wrong})

    assert [error.partition(": error ")[0] for error in found] == [f"parts.js:{end + n}" for n in (2, 3, 4)]


def test_a_compiler_that_is_not_what_was_meant_is_not_kept(tmp_path: Path):
    """Nor is anything where no registry answers; both say what to do."""
    (tmp_path / "typescript" / "-").mkdir(parents=True)
    (tmp_path / "typescript" / "-" / f"typescript-{VERSION}.tgz").write_bytes(b"another")
    kept = tmp_path / "kept"
    serve = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}/"
        try:
            with pytest.raises(OSError, match=r"it was not kept\. Name another registry"):
                get(kept, address)
        finally:
            server.shutdown()
            thread.join()

    with pytest.raises(OSError, match=r"could not be fetched: .*npm_config_registry="):
        get(kept, address)
    with pytest.raises(OSError, match=r"could not be fetched: .*npm_config_registry="):
        get(kept, "no address")
    assert not kept.exists()


def type_errors(folder: Path, modules: dict[str, str]) -> list[str]:
    """What the compiler has against some modules, each error once, with the file of ours and the line in it."""
    files = []
    for name, text in modules.items():
        files.append(folder / f"{name}.js")
        files[-1].write_text(text, "utf-8")
    compiler = [compute_driver_executable()[0], str(get() / "lib" / "tsc.js"), "--noEmit", "--allowJs", "--checkJs"]

    done = subprocess.run(
        [*compiler, *STRICT, *TARGET, "--pretty", "false", *(file.name for file in files)],
        capture_output=True, text=True, timeout=100, check=False, cwd=folder,
    )  # fmt: skip

    found = re.findall(r"^(\w+)\.js\((\d+),\d+\): (error .*)$", done.stdout, re.MULTILINE)
    assert bool(found) == bool(done.returncode), done.stdout + done.stderr
    return sorted({f"{_origin(modules[name], int(line))}: {error}" for name, line, error in found})


def _origin(text: str, line: int) -> str:
    """The file of ours that a line of a joined module is from, and the line there: each file begins in its own way."""
    begins = {file.read_text("utf-8").splitlines()[0]: file.name for file in WIDGETS.glob("*.js")}
    above = text.splitlines()[:line]
    last = max(n for n, each in enumerate(above) if each in begins)
    return f"{begins[above[last]]}:{line - last}"
