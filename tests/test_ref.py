"""Refs and replies: what a person holds, in a cell, a script, a loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import copy
import pickle
import signal
import subprocess
import sys
import textwrap
import threading

import anyio
import pytest

from agentlab import Lab, Supervisor, child
from agentlab.errors import AgentDown, CallTimeout, InvalidSpec, LabClosed, NotRunning, UnknownMessage
from agentlab.ref.many import Refs
from tests.agents import Boss, Counter
from tests.conftest import wait_for


@pytest.fixture(scope="module")
def lab():
    """One lab for all tests here; each starts agents of its own."""
    with Lab(nodes=1) as made:
        yield made


@pytest.fixture
def counter(lab):
    """A counter that has handled nothing."""
    ref = lab.start(Counter, shutdown="brutal_kill")
    yield ref
    ref.stop()


# refs


def test_refs_to_one_place_are_equal(lab, counter):
    """However they were had; another place or another lab is another ref."""
    with Lab(nodes=1) as other:
        stranger = other.start(Counter, id=counter.id)

        assert lab[counter.path] == counter == lab.whereis(counter.id)
        assert len({lab[counter.path], counter}) == 1
        assert counter != stranger
        assert counter != lab.start(Counter)
        assert counter != counter.path


def test_a_ref_travels_inside_its_lab(counter):
    """Pickled, copied, or answered by an agent: it is the same ref."""
    assert pickle.loads(pickle.dumps(counter)) == counter
    assert copy.copy(counter) == copy.deepcopy(counter) == counter


def test_an_agent_answers_with_a_ref_that_works(lab):
    """A ref made in a node reaches its agent from a cell."""
    boss = lab.start(Boss)

    hired = boss.call.hire("hired").result()

    assert hired == lab["/hired"]
    assert hired.call.add(2).result() == 2


def test_a_ref_has_no_home_in_another_process(counter):
    """It says that refs travel inside their lab."""
    code = f"import pickle; pickle.loads({pickle.dumps(counter)!r})"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert f"LabClosed: ref to '{counter.path}': its lab is not in this process" in done.stderr


def test_the_repr_says_where_what_and_how(lab):
    """The same at every time that the agent is in that state."""
    ref = lab.start(Counter, id="shown")
    running = repr(ref)

    ref.stop()

    assert running == "Ref('/shown', Counter, running)"
    assert repr(ref) == "Ref('/shown', Counter, stopped)"


def test_a_crash_takes_an_exception_or_its_class(lab, counter):
    """As ``raise`` does; anything else is refused and leaves the agent alone."""
    counter.crash(LookupError)
    lab.wait_idle()
    counter.crash(ValueError("no tea"))
    lab.wait_idle()

    with pytest.raises(TypeError, match="error must be an exception; got 'oops'"):
        counter.crash("oops")
    lab.wait_idle()

    assert list(lab.restarts(path=counter.path)["reason"]) == ["LookupError", "ValueError: no tea"]
    assert counter.incarnation == 3


def test_a_supervisor_has_the_incarnation_that_the_frames_have(lab):
    """Also after it was started again, as an agent has."""
    team = lab.start(Supervisor("counted", child(Counter, id="a")))
    first = team.incarnation

    team.restart()
    lab.wait_idle()

    assert first == 1
    assert team.incarnation == 2 == lab.agents().set_index("path")["incarnation"][team.path]


# messages


def test_call_and_cast_complete_by_tab(counter):
    """``dir`` lists the agent's messages, sorted, and nothing else."""
    wanted = ["add", "boom", "finish", "hang", "leave", "life", "pid", "say"]

    assert dir(counter.call) == dir(counter.cast) == wanted
    assert repr(counter.call) == f"<call {counter.path}: {', '.join(wanted)}>"


@pytest.mark.parametrize("name", ["ad", "on_start", "count", "state"])
def test_an_unknown_message_is_refused_before_it_is_sent(counter, name):
    """An AttributeError that lists what there is."""
    with pytest.raises(UnknownMessage, match=f"has no message '{name}'; Counter has: add, boom") as refused:
        getattr(counter.call, name)

    assert isinstance(refused.value, AttributeError)
    assert counter.info()["handled"] == 0


@pytest.mark.parametrize("name", ["_repr_html_", "__deepcopy__", "_ipython_canary_method_should_not_exist_"])
def test_what_tools_look_for_is_no_message(lab, name):
    """Also of an agent that is gone, when nobody knows its messages."""
    gone = lab.start(Counter)
    gone.stop()

    for ref in (gone, lab.start(Counter)):
        assert not hasattr(ref.call, name)
        assert not hasattr(ref.cast, name)


@pytest.mark.parametrize(
    ("args", "kwargs", "why"),
    [
        ((1, 2), {}, "too many positional arguments"),
        ((), {"m": 1}, "unexpected keyword argument 'm'. It has no 'm'. Nothing was done"),
        ((1,), {"n": 1}, "multiple values for argument 'n'"),
    ],
)
def test_wrong_arguments_are_refused_before_they_are_sent(counter, args, kwargs, why):
    """A TypeError as Python's own, with the method and its signature."""
    with pytest.raises(TypeError, match=why) as refused:
        counter.call.add(*args, **kwargs)

    assert "add(n: 'int' = 1)" in str(refused.value)
    assert counter.info()["handled"] == 0


def test_arguments_that_cannot_travel_are_refused(lab):
    """The error says of what, and what can."""
    with pytest.raises(TypeError, match=r"the arguments of .*take cannot travel: .*Pass data that pickles"):
        lab.start(Boss, id="taker").call.take(threading.Lock())


@pytest.mark.parametrize("timeout", [-1, "5", True, float("nan"), [1]])
def test_a_timeout_is_a_number_of_seconds(counter, timeout):
    """Anything else is refused before the message is sent, for one agent and for many."""
    for call in (counter.call, Refs([counter]).call):
        with pytest.raises(InvalidSpec, match="timeout must be seconds >= 0"):
            call(timeout=timeout)
    with pytest.raises(InvalidSpec, match="redeliver must be True or False; got 'no'"):
        counter.call(redeliver="no")


# waiting


def hangs(counter):
    """Whether it has begun to hang: what has not, when its agent is killed, waits for the next life and hangs there."""
    return counter.info()["message"] == "hang"


def test_a_wait_ends_with_its_timeout_and_the_work_goes_on(counter):
    """CallTimeout is a TimeoutError; it names the message and the seconds; the reply is still good."""
    reply = counter.call(timeout=0).hang()

    with pytest.raises(CallTimeout, match=r"no answer from .*hang within 0 s; "):
        reply.result()
    wait_for(lambda: counter.info()["message"])
    assert counter.status == "busy"
    with pytest.raises(TimeoutError, match=r"within 0.01 s; the agent still does the work. Wait longer: reply.result"):
        reply.result(timeout=0.01)
    with pytest.raises(CallTimeout, match=r"add within 0.01 s; it still waits in the mailbox"):
        counter.call.add(1).result(0.01)

    assert not reply.done()


def test_a_reply_that_was_taken_back_says_so(counter):
    """Whoever waits for it later learns what became of it."""
    reply = counter.call.hang()
    assert reply.cancel()

    with pytest.raises(concurrent.futures.CancelledError, match=r"hang was taken back: reply\.cancel\(\)"):
        reply.result(60)


def test_waiting_for_ever_is_possible(counter):
    """``timeout=inf`` is no overflow."""
    assert counter.call(timeout=float("inf")).add(1).result() == 1


def test_an_answer_can_be_taken_twice(counter):
    """Each time a copy."""
    reply = counter.call.add(3)

    assert [reply.result(), reply.result(), reply.done()] == [3, 3, True]
    assert repr(reply) == f"Reply({counter.path}.add, done)"


def test_a_reply_is_awaited_in_asyncio_and_under_anyio(counter):
    """Alone, gathered, in a task group, after it is done; a late answer is a CallTimeout."""

    async def main() -> list[int]:
        replies = [counter.call.add(1), counter.call.add(1)]
        gathered = await asyncio.gather(*replies)
        async with anyio.create_task_group() as group:
            group.start_soon(replies[0].__class__._wait, counter.call.add(1))
        with pytest.raises(CallTimeout, match=r"within 0\.05 s"):
            await counter.call(timeout=0.05, redeliver=False).hang()
        wait_for(lambda: hangs(counter))
        return [*gathered, await replies[1]]

    assert asyncio.run(main()) == [1, 2, 2]
    counter.kill()
    assert anyio.run(main) == [4, 5, 5]


def test_cancelling_who_waits_ends_the_wait_only(counter):
    """A cancelled task, an anyio time limit: the agent knows nothing of it, and the reply is still good."""

    async def main() -> int:
        reply = counter.call(redeliver=False).hang()
        task = asyncio.ensure_future(asyncio.wait_for(reply, 60))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with anyio.move_on_after(0.02) as scope:
            await reply
        assert scope.cancelled_caught
        assert not reply.done()
        wait_for(lambda: hangs(counter))
        counter.kill()
        return await counter.call.add(1)

    assert asyncio.run(main()) == 1


def test_an_answer_that_comes_after_its_loop_is_closed_harms_nobody(counter):
    """The loop that waited is gone; another one gets the answer."""

    async def give_up() -> object:
        reply = counter.call(redeliver=False).hang()
        with anyio.move_on_after(0.02):
            await reply
        return reply

    reply = asyncio.run(give_up())
    wait_for(lambda: hangs(counter))
    counter.kill()

    with pytest.raises(AgentDown, match="killed"):
        reply.result()


def test_threads_may_wait_for_one_reply(counter):
    """All of them get the answer."""
    reply = counter.call.add(2)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: reply.result(), range(8)))

    assert answers == [2] * 8


def test_an_interrupted_wait_leaves_the_agent_alone():
    """Ctrl-C in ``result()`` and in an awaiting loop ends the wait; the lab works on."""
    before = signal.getsignal(signal.SIGINT)
    script = textwrap.dedent("""
        import asyncio, os, signal, threading
        from agentlab import Lab
        from tests.agents import Counter
        from tests.patience import wait_for

        def hangs(ref):
            return ref.info()["message"] == "hang"

        signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background ignores it

        def interrupt_soon():
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()

        async def wait(reply):
            interrupt_soon()
            await reply

        with Lab(nodes=1) as lab:
            ref = lab.start(Counter)
            reply = ref.call(redeliver=False).hang()
            wait_for(lambda: hangs(ref))
            for way in (lambda: (interrupt_soon(), reply.result()), lambda: asyncio.run(wait(reply))):
                try:
                    way()
                except KeyboardInterrupt:
                    print("interrupted", ref.incarnation, reply.done())
            ref.kill()
            print(ref.call.add(1).result())
    """)

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)

    assert done.stdout.splitlines() == ["interrupted 1 False", "interrupted 1 False", "1"], done.stderr
    assert done.returncode == 0
    assert signal.getsignal(signal.SIGINT) is before


def test_nothing_is_sent_to_a_closed_lab():
    """A call that waits when its lab closes hears it; one made after it is refused."""
    lab = Lab(nodes=1)
    ref = lab.start(Counter, id="counter")
    waiting = ref.call.hang()
    wait_for(lambda: ref.status == "busy")

    lab.close(timeout=0.1)

    with pytest.raises(AgentDown, match=r"shutdown|killed"):
        waiting.result(60)
    with pytest.raises(LabClosed, match=r"this lab is closed. Start another: Lab\(\)"):
        ref.call.add(1)
    with pytest.raises(LabClosed):
        ref.cast.add(1)
    assert repr(ref) == "Ref('/counter', Counter, stopped)"


# many


def test_many_refs_are_one(lab):
    """A message to all of them; answers in their order; options as for one."""
    refs = lab.start_many(Counter, [{"count": n} for n in range(5)])

    answers = refs.call(timeout=30).add(10)
    told = refs.cast.add(1)
    refs.wait()

    assert answers.result(30) == [10, 11, 12, 13, 14]
    assert told is None
    assert refs.call.add(0).result() == [11, 12, 13, 14, 15]
    assert asyncio.run(_await(refs.call.add(0))) == [11, 12, 13, 14, 15]
    assert isinstance(refs[1:], Refs)
    assert [len(refs), len(refs[1:3]), refs[0] in refs, len(answers[:2])] == [5, 2, True, 2]
    assert repr(refs) == f"Refs(5 agents: {refs[0].path} … {refs[4].path})"
    assert repr(answers) == "Replies(5 of 5 done)"
    assert "add" in dir(refs.call)


async def _await(replies: object) -> object:
    return await replies


def test_no_refs_are_no_trouble(lab):
    """Zero agents answer with zero answers."""
    refs = lab.start_many(Counter, 0)

    refs.wait()

    assert refs.call.add(1).result() == []
    assert (repr(refs), dir(refs.call)) == ("Refs(0 agents)", [])


def test_one_that_fails_is_raised_and_the_others_have_answered(lab):
    """The first error in the order of the refs."""
    refs = lab.start_many(Counter, 3)
    refs[1].stop()

    replies = refs.call.add(1)

    with pytest.raises(NotRunning):
        replies.result(20)
    assert [replies[0].result(), replies[2].result()] == [1, 1]


def test_a_supervisor_takes_no_messages(lab):
    """It has children, and says that it is no agent."""
    team = lab.start(Supervisor("team", child(Counter, id="kid")))

    with pytest.raises(UnknownMessage, match="'/team' has no message 'add'"):
        team.call.add(1)

    assert lab["/team/kid"].call.add(1).result() == 1
