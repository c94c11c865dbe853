"""Run every benchmark beside this file and write what they found to results.jsonl, and as a table to results.md.

    python tests/benchmarks [--quick] [name ...]

Each script prints one JSON line per figure: ``figure``, ``target``, ``agentlab``, ``unit``, and where there is one
``peer``, ``peer_name``, ``ratio``, ``size``, ``met`` (see ``kit/report.py``). Lines of one figure at several sizes give
the exponent of its growth.
"""

from __future__ import annotations

import ast
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
KEPT = HERE / "results.jsonl"
PATIENCE = 300.0  # seconds for one part of a script; what it has said by then stays
LONGER = {"drill": 2_400.0, "evals": 900.0, "streams": 600.0}  # a night, runs of 10,000 samples, 10,000 connections
NO_FIGURES = {"__main__", "checkouts", "profile_kernel"}  # these ask for more than a size
KNOWN = {
    "figure", "target", "agentlab", "unit", "peer", "peer_name", "ratio", "others", "missing", "why", "met", "size",
    "ratio_most", "versions", "quick", "interval", "foreign", "script", "part", "day", "before",
}  # fmt: skip
HEAD = (
    "| figure | size | target | agentlab | before | peer | ratio | ± % | growth | |",
    "| --- | --: | --- | --: | --: | --- | --: | --: | --: | --- |",
)

Line = dict[str, Any]


def parts_of(script: Path) -> list[str]:
    """The parts that a script measures, each within two minutes, as its ``PARTS`` names them."""
    for line in ast.parse(script.read_text(encoding="utf-8")).body:
        if (
            isinstance(line, ast.Assign)
            and isinstance(line.value, ast.Dict)
            and ast.unparse(line.targets[0]) == "PARTS"
        ):
            return [str(ast.literal_eval(key)) for key in line.value.keys if key is not None]
    return []


def measured(script: Path, part: str | None, *options: str) -> list[Line]:
    """Run a script, or one part of it, in a process group of its own, which is gone afterwards; its figures."""
    found = []
    command = [sys.executable, str(script), *([part] if part else []), *options]
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
    took, name = time.monotonic() - began, " ".join([script.name, part or ""]).strip()
    if process.returncode:
        found.append({"figure": f"{name} ended with {process.returncode} after {took:.0f} s", "met": False})
    print(f"{name}: {took:.0f} s", file=sys.stderr)
    return [line | {"script": script.stem, "part": part, "day": f"{datetime.now(UTC):%Y-%m-%d}"} for line in found]


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
        "" if line.get("before") is None else f"{line['before']:,}",
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


def merged(kept: list[Line], found: list[Line]) -> list[Line]:
    """The lines that were kept; those of parts that were measured anew are the new ones, beside the old values."""
    anew = {(line["script"], part) for line in found for part in (line["part"], None)}
    old = {(line["figure"], line.get("size")): line.get("agentlab") for line in kept}
    beside = [line | {"before": old.get((line["figure"], line.get("size")))} for line in found]
    return [line for line in kept if (line["script"], line.get("part")) not in anew] + beside


def report(lines: list[Line]) -> str:
    """The whole page."""
    lines = sorted(lines, key=order)
    judged = [line["met"] for line in lines if line.get("met") is not None]
    unsure = len([line for line in lines if "met" in line]) - len(judged)
    quick = "**Some of it is of a quick run, sizes by ten smaller, one round: no reference.** "
    days = sorted({line["day"] for line in lines if "day" in line})
    return f"""# What was measured

{quick if any("quick" in x for x in lines) else ""}{", ".join(days)}. {versions(lines)}. {machine()}.
{sum(judged)} of {len(judged)} lines with a target meet it; {unsure} more were not sure enough to be judged.

A ratio is agentlab's figure to the first peer's. *before* is what agentlab's was when it was last measured. *± %* is
half of the 95 % interval of the ratio, or of the figure where no peer stands beside it; from 10 % on, after a single
round, or with a tenth of the machine busy with other work, nothing but counts is judged. *growth* is the exponent over
the sizes: 0 is flat, 1 is proportional. What stands behind a figure is written at the top of its script;
`results.jsonl` has each line with its script, part and day.

{table(lines)}

{(HERE / "missed.md").read_text(encoding="utf-8")}"""


def main() -> None:
    """Measure everything, or what is named; what is not measured now stays as it was."""
    options = [word for word in sys.argv[1:] if word.startswith("--")]
    names = [word for word in sys.argv[1:] if not word.startswith("--")]
    scripts = [path for path in sorted(HERE.glob("*.py")) if path.stem not in NO_FIGURES]
    kept = [json.loads(line) for line in KEPT.read_text(encoding="utf-8").splitlines()]
    found: list[Line] = []
    for script in scripts:
        if not names or script.stem in names:
            for part in parts_of(script) or [None]:
                found += measured(script, part, *options)
                keep(merged(kept, found))  # whoever is ended loses no more than the part in hand


def keep(lines: list[Line]) -> None:
    """Write both forms."""
    KEPT.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    (HERE / "results.md").write_text(report(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
