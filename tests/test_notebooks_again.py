"""Notebooks are run again: after a kernel restart, a second time from the top, and from the middle."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from jupyter_client.asynchronous.client import AsyncKernelClient

from tests.kernels import start_async_kernel
from tests.patience import LONG

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))[: None if LONG else 1]
"""All of them by ``make long``; else the tour, which keeps a lab in a file. ``test_newcomers`` has one with runs."""
PATIENCE = 200.0
AT_ONCE = 3  # notebooks wait more than they work


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_a_notebook_can_be_run_again(tmp_path: Path) -> None:
    """A kernel is restarted half-way; then all cells run, those from the middle again, and from the top: none fails."""
    where = {path: tmp_path / path.stem for path in NOTEBOOKS}
    for folder in where.values():
        folder.mkdir()
    turns = asyncio.Semaphore(AT_ONCE)

    async def in_turn(path: Path) -> list[str]:
        async with turns:
            return await run_again(path, where[path])

    longest_first = NOTEBOOKS[::-1]
    failed = await asyncio.gather(*map(in_turn, longest_first))

    assert {path.name: cells for path, cells in zip(longest_first, failed, strict=True) if cells} == {}


def code_of(path: Path) -> list[str]:
    """Its cells of code. nbformat, which reads notebooks too, takes each process of the suite two seconds to load."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


async def run_again(path: Path, where: Path) -> list[str]:
    """Run a notebook as people do, in a folder of its own; a line for each cell that failed."""
    cells = code_of(path)
    half = len(cells) // 2
    manager, client = await start_async_kernel(where)
    try:
        failed = await run(client, cells[:half], "before the restart")
        await manager.restart_kernel(now=True)
        await client.wait_for_ready(timeout=PATIENCE)
        for part, when in (
            (cells, "after it"),
            (cells[half:], "from the middle"),
            (cells[:half], "from the top again"),
        ):
            failed += await run(client, part, when)
        return failed
    finally:
        client.stop_channels()
        await manager.shutdown_kernel(now=True)


async def run(client: AsyncKernelClient, cells: list[str], when: str) -> list[str]:
    """Run cells one after another; a line for each that failed."""
    failed = []
    for cell in cells:
        reply = await client.execute_interactive(cell, timeout=PATIENCE, output_hook=lambda message: None)
        content = reply["content"]
        if content["status"] != "ok":
            failed.append(f"{when}: {cell.splitlines()[0]} ... {content.get('ename')}: {content.get('evalue')}")
    return failed
