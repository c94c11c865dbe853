"""Run every benchmark beside this file and write what they found to results.md.

    python tests/benchmarks [--quick] [name ...]

Each script prints one JSON line per figure: ``figure``, ``target``, ``agentlab``, ``unit``, and where there is one
``peer``, ``peer_name``, ``ratio``, ``size``, ``met`` (see ``kit/report.py``). Lines of one figure at several sizes give
the exponent of its growth.
"""

from __future__ import annotations

import json
import math
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PATIENCE = 300.0  # seconds for one script; what it has said by then stays
LONGER = {
    "drill": 2_400.0,
    "crowd": 900.0,
    "evals": 3_600.0,
    "turns": 1_800.0,
    "streams": 600.0,
    "clusters": 900.0,
}  # of those that say nothing before their end
NO_FIGURES = {"__main__", "checkouts", "profile_kernel"}  # these ask for more than a size
KNOWN = {
    "figure", "target", "agentlab", "unit", "peer", "peer_name", "ratio", "others", "missing", "why", "met", "size",
    "ratio_most", "versions", "quick", "interval", "foreign",
}  # fmt: skip
HEAD = (
    "| figure | size | target | agentlab | peer | ratio | ± % | growth | |",
    "| --- | --: | --- | --: | --- | --: | --: | --: | --- |",
)

Line = dict[str, Any]


def measured(script: Path, *options: str) -> list[Line]:
    """Run one script in a process group of its own, which is gone afterwards; its figures, printed as they come."""
    found = []
    command = [sys.executable, str(script), *options]
    began = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        signal.signal(signal.SIGALRM, lambda *_: _end_group(process.pid))
        signal.alarm(int(LONGER.get(script.stem, PATIENCE)))
        try:
            for line in process.stdout:
                print(line, end="", flush=True)
                if line.startswith("{"):
                    found.append(json.loads(line))
            process.wait()
        finally:
            signal.alarm(0)
            _end_group(process.pid)
    took = time.monotonic() - began
    if process.returncode:
        found.append({"figure": f"{script.name} ended with {process.returncode} after {took:.0f} s", "met": False})
    print(f"{script.name}: {took:.0f} s", file=sys.stderr)
    return found


def _end_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def growth(lines: Iterable[Line]) -> dict[str, float]:
    """Per figure the exponent: the slope of the logarithms of value and size, by least squares."""
    points: dict[str, list[tuple[float, float]]] = {}
    for line in lines:
        if line.get("size") and (line.get("agentlab") or 0) > 0:
            points.setdefault(line["figure"], []).append((math.log(line["size"]), math.log(line["agentlab"])))
    return {figure: _slope(some) for figure, some in points.items() if len({x for x, _ in some}) > 1}


def _slope(points: list[tuple[float, float]]) -> float:
    x0 = sum(x for x, _ in points) / len(points)
    y0 = sum(y for _, y in points) / len(points)
    return sum((x - x0) * (y - y0) for x, y in points) / sum((x - x0) ** 2 for x, _ in points)


def row(line: Line, exponent: float | None) -> str:
    """One figure as a row of the table."""
    about = ", ".join(f"{name} {value}" for name, value in line.items() if name not in KNOWN and value is not None)
    size = f"{line['size']:,}" if "size" in line else ""
    cells = [
        line["figure"] + (f" ({about})" if about else ""),
        size,
        line.get("target", ""),
        _ours(line),
        _theirs(line),
        "" if "ratio" not in line else f"{line['ratio']:,}",
        "" if line.get("interval") is None else f"{line['interval']:.0f}",
        "" if exponent is None else f"{exponent:.2f}",
        _verdict(line),
    ]
    return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _verdict(line: Line) -> str:
    busy = f", {line['foreign']:.0f} % of the machine busy with other work" if line.get("foreign", 0.0) >= 1.0 else ""
    if "met" not in line:
        return busy.removeprefix(", ")
    return {True: "met", False: "**missed**", None: "not judged"}[line["met"]] + busy


def _ours(line: Line) -> str:
    value = line.get("agentlab")
    return line.get("why", "") if value is None else f"{value:,} {line.get('unit', '')}"


def _theirs(line: Line) -> str:
    gone = line.get("missing", {})
    found = {line.get("peer_name"): line.get("peer")} | line.get("others", {})
    told = [f"{name} {value:,}" for name, value in found.items() if value is not None]
    return "; ".join(told + [f"{name}: {why}" for name, why in gone.items()])


def table(lines: list[Line]) -> str:
    """All figures; the exponent stands with the largest size."""
    exponents = growth(lines)
    last = {line["figure"]: line for line in lines}
    rows = [row(line, exponents.get(line["figure"]) if last[line["figure"]] is line else None) for line in lines]
    return "\n".join([*HEAD, *rows])


def machine() -> str:
    """Where it was measured."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        cpu = names[0] if names else cpu
    return f"{platform.system()} {platform.release()}, {os.cpu_count()} cores, {cpu}"


def versions(lines: Iterable[Line]) -> str:
    """What was measured."""
    found: dict[str, str] = {"python": platform.python_version()}
    if shutil.which("erl"):
        code = "io:put_chars(erlang:system_info(otp_release)), halt()."
        asked = subprocess.run(["erl", "-noshell", "-eval", code], capture_output=True, text=True, check=False)
        found["Erlang/OTP"] = asked.stdout
    for line in lines:
        found |= line.get("versions", {})
    return ", ".join(f"{name} {version}" for name, version in found.items())


def order(line: Line) -> tuple[int, str]:
    """P1 before P2 before P10, what has no number after them."""
    word = line["figure"].split()[0]
    return (int(word[1:]), "") if word[:1] == "P" and word[1:].isdigit() else (999, line["figure"].split(":")[0])


def report(lines: list[Line]) -> str:
    """The whole page."""
    lines = sorted(lines, key=order)
    judged = [line["met"] for line in lines if line.get("met") is not None]
    unsure = len([line for line in lines if "met" in line]) - len(judged)
    quick = (
        "**A quick run, sizes by ten smaller, one round: no reference.** " if any("quick" in x for x in lines) else ""
    )
    return f"""# What was measured

{quick}{datetime.now(UTC):%Y-%m-%d}. {versions(lines)}. {machine()}.
{sum(judged)} of {len(judged)} lines with a target meet it; {unsure} more were not sure enough to be judged.

A ratio is agentlab's figure to the first peer's. *± %* is half of the 95 % interval of the ratio, or of the figure
where no peer stands beside it; from 10 % on, or with a tenth of the machine busy with other work, nothing is judged.
*growth* is the exponent over the sizes: 0 is flat, 1 is proportional.
What stands behind a figure is written at the top of its script.

{table(lines)}

{(HERE / "missed.md").read_text(encoding="utf-8")}"""


def main() -> None:
    """Measure everything, or what is named."""
    options = [word for word in sys.argv[1:] if word.startswith("--")]
    names = [word for word in sys.argv[1:] if not word.startswith("--")]
    scripts = [path for path in sorted(HERE.glob("*.py")) if path.stem not in NO_FIGURES]
    lines = []
    for script in scripts:
        if not names or script.stem in names:
            lines += measured(script, *options)
    (HERE / "results.md").write_text(report(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
