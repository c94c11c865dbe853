"""Run ``make test`` again and again in a clean clone, also beside busy processes; a line for each run.

    python tests/again.py 6 --busy 2

A line says how long the run took, how many tests passed and failed, and which failed; what the run said lies in the
file beside it. Exit code 0 if all runs passed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parent.parent
BUSY = "import os, sys\nparent = int(sys.argv[1])\nwhile os.getppid() == parent:\n    sum(range(100_000))"
"""A busy process ends when the one that started it is gone, however that ended."""
FAILED = re.compile(r"^(?:FAILED|ERROR) \S.*|^make.*\*\*\* \[.*|^Found \d+ errors?.*", re.MULTILINE)
COUNTS = re.compile(r"^[= ]*(\d+ [a-z]+(?:, \d+ [a-z]+)*) in [\d.]+s", re.MULTILINE)
INSTALLED = ".venv*"  # what a run may find of the one before


def counts(said: str) -> str:
    """How many tests passed, failed and so on, summed over all that were run."""
    total: Counter[str] = Counter()
    for line in COUNTS.findall(said):
        for part in line.split(", "):
            number, what = part.split()
            total[what] += int(number)
    return ", ".join(f"{number} {what}" for what, number in sorted(total.items())) or "no test was run"


@contextlib.contextmanager
def busy(number: int) -> Iterator[None]:
    """So many processes that never wait."""
    with contextlib.ExitStack() as ends:
        for _ in range(number):
            process = ends.enter_context(subprocess.Popen([sys.executable, "-c", BUSY, str(os.getpid())]))
            ends.callback(process.kill)  # before it is waited for
        yield


def run_make(clone: Path, target: str, log: IO[str]) -> int:
    """Its exit code; whatever ends this script ends it, and what it has started."""
    with subprocess.Popen(["make", target], cwd=clone, stdout=log, stderr=log, start_new_session=True) as process:
        try:
            return process.wait()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def one_run(name: str, clone: Path, target: str, log: Path, beside: int) -> bool:
    """Run it, print its line, and tell whether all went well."""
    subprocess.run(["git", "clean", "-xdfq", "-e", INSTALLED], cwd=clone, check=True)
    began = time.monotonic()
    with log.open("w", encoding="utf-8") as said, busy(beside):
        code = run_make(clone, target, said)
    took, text = time.monotonic() - began, log.read_text(encoding="utf-8", errors="replace")
    end = "passed" if code == 0 else f"failed with exit code {code}"
    print(f"{name}: {end} after {took:.0f} s, {beside} busy beside it: {counts(text)}; {log}", flush=True)
    for line in FAILED.findall(text):
        print(f"    {line}", flush=True)
    return code == 0


def main() -> int:
    """Clone what is committed, install, run."""
    parser = argparse.ArgumentParser(prog="python tests/again.py", description=__doc__)
    parser.add_argument("runs", type=int, nargs="?", default=3)
    parser.add_argument("--busy", type=int, default=0, help="how many busy processes each run has beside it")
    parser.add_argument("--target", default="test", help="what make is asked for")
    options = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    folder = Path(tempfile.mkdtemp(prefix="agentlab-again-"))  # kept: the logs lie in it
    clone = folder / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    if not one_run("installation", clone, ".venv/.installed-test", folder / "installation.log", 0):
        return 1
    runs = range(1, options.runs + 1)
    passed = [one_run(f"run {n}", clone, options.target, folder / f"run-{n}.log", options.busy) for n in runs]
    print(f"{sum(passed)} of {options.runs} passed", flush=True)
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
