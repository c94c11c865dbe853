"""Tracebacks teach: the cell's line, the agent's line, what happened; a dozen lines, and nothing of the house."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentlab import Agent, Lab, Limit, child
from agentlab.errors import AgentDown
from agentlab.ground.tracebacks import HOUSE, full, learn, message_of, render, traceback_of
from agentlab.wire.exceptions import describe

DEFINE = """\
import asyncio
from agentlab import Agent, Lab, Limit, child

def helper(n):
    return n / 0

class Counter(Agent):
    count: int = 0

    async def add(self, n: int = 1) -> int:
        self.count += helper(n)
        return self.count

    async def plain(self):
        raise LookupError("no tea")

    async def slow(self):
        await asyncio.sleep(30)

    async def ask(self, other: str):
        await self.lab[other].call.add()

    async def translate(self):
        try:
            helper(1)
        except ZeroDivisionError as error:
            raise ValueError("bad number") from error

    async def deep(self, n: int):
        return n and await self.deep(n - 1) or helper(1)

    async def prints(self):
        import traceback
        try:
            helper(1)
        except ZeroDivisionError:
            print(traceback.format_exc())

class Failing(Agent):
    async def on_start(self):
        raise LookupError("no configuration")

lab = Lab(nodes=1)
often = Limit(999, 1.0)
a = lab.start(child(Counter, id="a", own_limit=often))
b = lab.start(child(Counter, id="b", own_limit=often))
"""


class Shown:
    """A kernel whose cells say how they failed."""

    def __init__(self, where: Path) -> None:
        from tests.kernels import start_kernel  # not in each node that runs an agent of this file

        self.manager, self.client = start_kernel(where)

    def run(self, code: str) -> str:
        """What a cell printed, or its traceback without colours."""
        cell = self.client.execute(code)
        said = []
        while True:
            message = self.client.get_iopub_msg(timeout=60)
            if message["parent_header"].get("msg_id") != cell:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "stream":
                said.append(content["text"])
            elif kind == "error":
                said.append(re.sub("\x1b\\[[0-9;]*m", "", "\n".join(content["traceback"])))
            elif kind == "status" and content["execution_state"] == "idle":
                return "".join(said)


@pytest.fixture(scope="module")
def kernel(tmp_path_factory) -> Iterator[Shown]:
    """A kernel with a lab and two agents, whose classes are from its first cell."""
    made = Shown(tmp_path_factory.mktemp("kernel"))
    assert made.run(DEFINE) == ""
    yield made
    made.client.stop_channels()
    made.manager.shutdown_kernel(now=True)


HIDDEN = ("asyncio", "anyio", "concurrent", "agentlab/", "site-packages", "futures")

CASES = {
    "await a.call.add(1)": ("AgentDown", ["Cell In[1], line 11, in add", "self.count += helper(n)", "return n / 0"]),
    "a.call.add(1).result()": ("AgentDown", ["Cell In[1], line 5, in helper", "return n / 0"]),
    "await a.call(redeliver=False).plain()": ("AgentDown", ['raise LookupError("no tea")', "LookupError: no tea"]),
    "a.call.deep(30).result()": ("AgentDown", ["AGENTLAB_FULL_TRACEBACKS=1", "return n / 0", "ZeroDivisionError"]),
    "await a.call.ask('/b')": ("AgentDown", ["return n / 0", "await self.lab[other].call.add()"]),
    "a.call.translate().result()": ("AgentDown", ["return n / 0", 'raise ValueError("bad number") from error']),
    "lab.start(Failing)": ("LookupError", ["in on_start", 'raise LookupError("no configuration")']),
    "lab.start_many(Failing, 2)": ("LookupError", ["in on_start", 'raise LookupError("no configuration")']),
    "a.call.nothing()": ("UnknownMessage", ["has no message 'nothing'"]),
    "a.call.add('five')": ("InvalidArgument", ["got 'five'"]),
    "lab.start(Counter, id='x', restrat='permanent')": ("UnknownOption", ["did you mean 'restart'?"]),
    "Lab(nodes=0)": ("InvalidSpec", ["nodes must be an int >= 1; got 0"]),
    "lab.start(Counter, id='a')": ("AlreadyStarted", ["a child with this id is running"]),
    "b.call(timeout=0.2).slow().result()": ("CallTimeout", ["no answer from /b.slow within 0.2 s"]),
    "await b.call(timeout=0.2).slow()": ("CallTimeout", ["no answer from /b.slow within 0.2 s"]),
    "lab['/nowhere']": ("KeyError", ["there is nothing at '/nowhere'"]),
    "a.crash('text')": ("InvalidArgument", ["error must be an exception; got 'text'"]),
}


@pytest.mark.parametrize("code", CASES)
def test_an_error_in_a_cell_is_a_dozen_lines(kernel, code):
    """The cell's own line, what happened, and the agent's frames once; no frame of ours, of asyncio or of anyio."""
    name, texts = CASES[code]

    shown = kernel.run(code)

    assert f"{name}:" in shown
    assert shown.splitlines()[0 if "---" not in shown.splitlines()[0] else 1].startswith(name)
    assert re.search(rf"Cell In\[\d+\], line 1\n[->1 ]*{re.escape(code)}", shown)
    for text in texts:
        assert shown.count(text) == 1 or text in ("return n / 0", "ZeroDivisionError", "LookupError: no tea")
    assert len(shown.splitlines()) <= 12, shown
    python = name in ("KeyError", "TypeError")  # IPython shows these, and the frame that raises them
    assert python or not [word for word in HIDDEN if word in shown], shown


def test_the_agents_frames_are_shown_once(kernel):
    """Its lines stand in the cell's error, and not again in a cause of it."""
    shown = kernel.run("await a.call.add(1)")

    assert shown.count("self.count += helper(n)") == 1
    assert shown.count("return n / 0") == 1


def test_all_frames_are_shown_to_who_wants_them(kernel):
    """The cause with its note, and the way through the house."""
    shown = kernel.run("import os; os.environ['AGENTLAB_FULL_TRACEBACKS'] = '1'\nawait a.call.add(1)")
    kernel.run("del os.environ['AGENTLAB_FULL_TRACEBACKS']")

    assert "The above exception was the direct cause" in shown
    assert "agentlab/ref/re" in shown


def test_cells_travel_with_the_class(kernel):
    """Events have them, and so has what an agent formats by itself, also after another cell has defined it anew."""
    assert "ZeroDivisionError" in kernel.run("a.call(redeliver=False).add(1).result()")
    assert "Cell In[1], line 11, in add\n    self.count += helper(n)" in kernel.run(
        "print(lab.events(path='/a').query(\"kind == 'crashed'\").detail.iloc[-1])"
    )
    assert "    return n / 0" in kernel.run("b2 = lab.start(Counter); b2.call.prints().result(); print(b2.log())")


def test_a_helper_in_another_cell_is_named_by_its_own(kernel):
    """Each frame by the cell that it is from."""
    kernel.run("def other(n):\n    # a line\n    return [][n]")
    kernel.run(
        "class Far(Agent):\n    async def go(self):\n        return other(3)\n"
        "far = lab.start(child(Far, id='far', own_limit=often))"
    )

    shown = kernel.run("far.call.go().result()")

    cells = re.findall(r"Cell In\[(\d+)\], line (\d+), in (go|other)", shown)
    assert [(line, name) for _, line, name in cells] == [("3", "go"), ("3", "other")]
    assert int(cells[0][0]) == int(cells[1][0]) + 1
    assert "return [][n]" in shown


SCRIPT = """
import sys
from agentlab import Agent, Lab

class Counter(Agent):
    async def add(self, n: int):
        return n / 0

if __name__ == "__main__":
    with Lab(nodes=1) as lab:
        lab.start(Counter, id="a").call(redeliver=False).add(1).result()
"""


@pytest.mark.parametrize("full", ["", "1"])
def test_a_script_sees_its_own_lines_and_its_agents(tmp_path, full):
    """Without the frames that lead from one to the other, unless they are asked for."""
    (tmp_path / "script.py").write_text(textwrap.dedent(SCRIPT))

    ran = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, "AGENTLAB_FULL_TRACEBACKS": full, "PYTHONPATH": str(Path(__file__).parent.parent)},
    )  # fmt: skip

    shown = ran.stderr
    assert 'script.py", line 7, in add\n    return n / 0' in shown
    assert 'script.py", line 11, in <module>' in shown
    assert shown.count("return n / 0") == 1
    assert ("node/host.py" in shown) == ("kernel/posts.py" in shown) == bool(full)
    assert full or len(shown.splitlines()) <= 20


class Broken(Agent):
    async def fail(self):
        raise ValueError("no tea")


def test_an_agents_traceback_has_its_own_frames_only(lab):
    """Ours, asyncio's and anyio's say nothing to who wrote it."""
    broken = lab.start(child(Broken, id="broken", own_limit=Limit(9, 1.0)))

    with pytest.raises(AgentDown) as down:
        broken.call(redeliver=False).fail().result(60)

    trace = down.value.reason.traceback
    assert [line for line in trace.splitlines() if line.startswith("  File")] == [
        line for line in trace.splitlines() if "test_tracebacks.py" in line
    ]
    assert 'raise ValueError("no tea")' in trace


def test_chains_and_groups_are_without_frames_of_the_house():
    """Causes, contexts and the members of groups too; what is nobody's frame stays as it is."""
    try:
        try:
            Lab(nodes=0)
        except ValueError as error:
            raise ExceptionGroup("two", [error, KeyError("a")]) from error
    except ExceptionGroup as group:
        text = traceback_of(group)
        kind, _, shown, _ = describe(group)

    assert (kind, shown) == ("ExceptionGroup", text)
    assert not [line for line in text.splitlines() if "File" in line and any(home in line for home in HOUSE)]
    assert text.count("nodes must be an int >= 1; got 0") == 2
    assert "KeyError: 'a'" in text


def test_a_cells_lines_are_found_by_whoever_formats_them():
    """A node that was told of a cell formats its frames by the cell's name."""
    source = "def f():\n    return 1 / 0\n"
    learn({"/tmp/of-no-file/1.py": ("Cell In[7]", source)})
    space: dict = {}
    exec(compile(source, "/tmp/of-no-file/1.py", "exec"), space)

    with pytest.raises(ZeroDivisionError) as raised:
        space["f"]()

    assert "  Cell In[7], line 2, in f\n    return 1 / 0\n" in traceback_of(raised.value)


def test_what_is_rendered_needs_no_notebook():
    """Nor a traceback, nor a text."""

    class Mute(AgentDown):
        def __str__(self):
            raise RuntimeError

    assert render(AgentDown("gone"))[-1].endswith(": gone")
    assert "its message raised RuntimeError" in render(Mute("gone"))[-1]


def test_each_line_of_a_function_is_a_place_of_its_own(monkeypatch):
    """What is remembered of one line is not shown for another, nor where all frames are wanted."""

    def fail(first: bool) -> None:
        if first:
            raise ValueError("one")
        raise ValueError("two")

    shown = []
    for first in (True, False):
        with pytest.raises(ValueError, match=r"one|two") as raised:
            fail(first)
        shown.append(traceback_of(raised.value))
    assert 'raise ValueError("one")' in shown[0]
    assert 'raise ValueError("two")' in shown[1]

    with pytest.raises(ValueError, match="nodes") as refused:
        Lab(nodes=0)
    assert "lab.py" not in traceback_of(refused.value)
    monkeypatch.setenv("AGENTLAB_FULL_TRACEBACKS", "1")
    assert "lab.py" in traceback_of(refused.value)


@pytest.mark.parametrize(("value", "wanted"), [("", False), ("0", False), ("1", True), ("yes", True)])
def test_0_and_nothing_mean_that_not_all_frames_are_wanted(monkeypatch, value, wanted):
    """As one would guess."""
    monkeypatch.setenv("AGENTLAB_FULL_TRACEBACKS", value)

    assert full() is wanted


def test_a_deep_recursion_is_told_in_a_few_lines():
    """Python's own words for what repeats."""

    def fall(depth: int) -> None:
        if not depth:
            raise ValueError("the ground")
        fall(depth - 1)

    with pytest.raises(ValueError, match="ground") as raised:
        fall(300)

    text = traceback_of(raised.value)
    assert "[Previous line repeated" in text
    assert len(text.splitlines()) < 40


def test_a_text_that_exits_is_no_exit():
    """Whatever a ``__str__`` raises."""

    class Leaves(Exception):
        def __str__(self):
            raise SystemExit(3)

    assert message_of(Leaves()) == "(its message raised SystemExit)"
