"""The script that runs ``make test`` again and again tells what happened, with a small project in place of this one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

MAKEFILE = """
.venv/.installed-test:
\tmkdir -p .venv; touch $@
test:
\t@test -e .venv/.installed-test; test ! -e left; touch left
\t@echo "===== 3 passed, 1 failed in 2.5s ====="; echo "FAILED tests/x.py::a - boom"; echo "7 passed in 90.1s (0:01:30)"
\t@exit 1
good:
\t@echo "5 passed, 1 skipped in 0.1s"
"""


def test_runs_begin_clean_and_are_counted_and_a_failure_is_named(tmp_path: Path) -> None:
    """Of both checks the counts are one sum; a run finds nothing of the one before but what is installed."""
    (tmp_path / "tests").mkdir()
    shutil.copy(Path(__file__).parent / "again.py", tmp_path / "tests")
    (tmp_path / "Makefile").write_text(MAKEFILE)
    (logs := tmp_path / "logs").mkdir()
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "x"]):
        subprocess.run([*git, *words], cwd=tmp_path, check=True)

    def again(*words: str) -> tuple[int, str]:
        command = [sys.executable, str(tmp_path / "tests" / "again.py"), *words]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=os.environ | {"TMPDIR": str(logs)}
        )
        return done.returncode, done.stdout

    code, said = again("2", "--busy", "1")
    assert code == 1, said
    assert said.count("1 busy beside it: 1 failed, 10 passed; ") == 2
    assert said.count("    FAILED tests/x.py::a - boom\n") == 2
    assert said.endswith("0 of 2 passed\n")
    code, said = again("1", "--target", "good")
    assert code == 0, said
    assert "0 busy beside it: 5 passed, 1 skipped; " in said
