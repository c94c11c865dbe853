"""Every error agentlab raises on purpose.

    AgentLabError
    ├── NotRunning                     a message for an agent that is stopped, parked or unknown
    ├── AgentDown                      the agent died and the message was given up; ``reason`` says why
    ├── CallTimeout (TimeoutError)     no answer in time; the work goes on
    ├── CallCycle                      a call that would close a circle of waiting agents
    ├── UnknownMessage (AttributeError)
    ├── InvalidArgument (TypeError)    an argument that does not fit the message; nothing was sent
    ├── NotAwaited (TypeError, AttributeError)  an agent took an answer for its result
    ├── MailboxFull
    ├── MessageTooLarge (ValueError)
    ├── InvalidSpec (ValueError)       a child, a supervisor or an agent class that cannot be
    │   └── UnknownOption (TypeError)  a keyword that a class or function of ours does not take
    ├── InvalidState (ValueError)      a state that does not fit its fields
    ├── UnknownCheckpoint (LookupError)  a past that the store does not have
    ├── UnknownLetter (LookupError)    a dead letter that is not there, or cannot be sent again
    ├── StartFailed                    the first incarnation did not come up
    ├── Crashed                        what ref.crash() raises inside an agent unless told otherwise
    ├── RestartLimitReached            a supervisor gave up
    ├── SupervisionError               OTP's results of the administration calls
    │   ├── AlreadyStarted
    │   ├── AlreadyPresent
    │   ├── ChildNotFound (KeyError)
    │   ├── ChildRunning
    │   ├── ChildRestarting
    │   ├── MaxChildren
    │   └── SimpleOneForOne
    ├── NodeDown
    ├── ServerDown                     the process of a server agent ended, or was not ready in time
    ├── LabClosed
    ├── UnsupportedPython (RuntimeError)  an interpreter that agentlab cannot run on
    ├── StoreError
    │   ├── StoreLocked
    │   ├── StoreDamaged
    │   ├── StoreReadOnly
    │   ├── StoreFull
    │   └── StoreTooNew
    ├── StepFailed                     a step that could not be finished; ``fault`` says why
    │   ├── ModelFailed                the provider refused or failed a model call
    │   │   ├── IncompleteStream       an answer that began and did not end as it should
    │   │   ├── ModelRefused           the model will not answer
    │   │   ├── ContextWindowExceeded  the conversation has outgrown the model
    │   │   ├── InvalidAnswer          answers that do not fit, more often than the model was told so
    │   │   ├── ToolLoop               a model that turns in circles, and was told so
    │   │   └── TurnLimitReached       no answer within ``max_turns`` model calls
    │   └── ToolFailed                 a tool refused its input or raised
    ├── BudgetExceeded
    ├── RunDiffers (ValueError)        an eval's store holds a run of other samples, or another solver
    ├── InsecureCluster                a cluster beyond this machine whose lines are not encrypted
    ├── WorkerRefused                  a cluster's worker has other versions; ``table`` says what, here, there
    ├── ClusterLost                    the scheduler of a cluster is gone while an eval ran on it
    ├── SamplesFailed                  samples of a run that were not scored, where that is an error
    └── InvariantBroken (AssertionError)  what must be true after a run is not; ``report`` says what

Each message says what happened with its values, the rule it met and the next move. A notebook shows the cell's
line, that message, and the frames of the agent that raised, if one did; ``AGENTLAB_FULL_TRACEBACKS=1`` in the
environment shows all.
"""

from __future__ import annotations

from typing import Any

from agentlab.ground.tracebacks import render


class AgentLabError(Exception):
    """The root: ``except AgentLabError`` catches every error of this package."""

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows; IPython asks for it."""
        return render(self)


class NotRunning(AgentLabError):
    """The agent is stopped, parked or was never started, so nobody will read the message."""


class AgentDown(AgentLabError):
    """The agent died with the message in hand and the message was not delivered again.

    Attributes:
        reason: The exit reason: ``"normal"``, ``"shutdown"``, ``"killed"`` or a crash.
    """

    def __init__(self, message: str, reason: Any = None) -> None:  # a reason is any term, as in OTP
        super().__init__(message)
        self.reason = reason


class CallTimeout(AgentLabError, TimeoutError):
    """The answer did not come in time. The agent is unaffected and still does the work."""


class CallCycle(AgentLabError):
    """The call would close a circle of agents that wait for each other."""


class UnknownMessage(AgentLabError, AttributeError):
    """The agent's class has no such public method."""


class InvalidArgument(AgentLabError, TypeError):
    """An argument does not fit the message's signature or its annotation; nothing was sent.

    Attributes:
        argument: The parameter's name; empty if the number of arguments or a name is wrong.
    """

    def __init__(self, message: str, *, argument: str = "") -> None:
        super().__init__(message)
        self.argument = argument


class NotAwaited(AgentLabError, TypeError, AttributeError):
    """An agent took for its result what its lab had not answered yet: ``await ref.status`` is the word."""


class MailboxFull(AgentLabError):
    """The mailbox holds as many messages as it may; nothing accepted before is dropped."""


class MessageTooLarge(AgentLabError, ValueError):
    """An argument, a reply or a state takes more bytes than it may (``agent/fields.MAX_MESSAGE``)."""


class InvalidSpec(AgentLabError, ValueError):
    """A child, a supervisor or an agent class that cannot be; nothing was started.

    Attributes:
        kind: OTP's name of the fault (``"invalid_restart_type"``, ``"bad_combination"`` ...).
        value: What was found.
    """

    def __init__(self, message: str, *, kind: str = "invalid", value: Any = None) -> None:  # any term
        super().__init__(message)
        self.kind = kind
        self.value = value


class UnknownOption(InvalidSpec, TypeError):
    """A keyword that the class or function does not take; the message says which was probably meant."""


class InvalidState(AgentLabError, ValueError):
    """A state that does not fit the agent's fields; the last checkpoint stands."""


class UnknownCheckpoint(AgentLabError, LookupError):
    """The agent has no such checkpoint, or no such message to handle again."""


class UnknownLetter(AgentLabError, LookupError):
    """There is no such dead letter, or the store does not have its arguments."""


class StartFailed(AgentLabError):
    """A start did not come up: its agent, or a child of its supervisor, ended before it ran.

    Attributes:
        reason: The exit reason, as the supervisor saw it.
    """

    def __init__(self, message: str, reason: Any = None) -> None:  # a reason is any term, as in OTP
        super().__init__(message)
        self.reason = reason


class Crashed(AgentLabError):
    """Raised inside an agent by ``ref.crash()``."""


class RestartLimitReached(AgentLabError):
    """More restarts than the limit allows in its window."""


class SupervisionError(AgentLabError):
    """An administration call that the state of the tree does not allow."""


class AlreadyStarted(SupervisionError):
    """A child with this id is running."""


class AlreadyPresent(SupervisionError):
    """A child with this id is kept, though not running: restart or delete it."""


class ChildNotFound(SupervisionError, KeyError):
    """The supervisor has no child with this id."""

    __str__ = Exception.__str__  # KeyError would show the quoted repr of the whole message


class ChildRunning(SupervisionError):
    """The child is running: terminate it first."""


class ChildRestarting(SupervisionError):
    """The child is between two restart attempts."""


class MaxChildren(SupervisionError):
    """The supervisor has ``max_children`` already."""


class SimpleOneForOne(SupervisionError):
    """Not for ``simple_one_for_one`` supervisors."""


class NodeDown(AgentLabError):
    """The node died."""


class ServerDown(AgentLabError):
    """The process that an agent owns ended unasked, could not be started, or was not ready in time."""


class LabClosed(AgentLabError):
    """The lab is closed."""


class UnsupportedPython(AgentLabError, RuntimeError):
    """This interpreter lacks what the lab rests on; nothing was started."""


class StoreError(AgentLabError):
    """The store cannot be used; the file was left as it is."""


class StoreLocked(StoreError):
    """Another live lab holds the store."""


class StoreDamaged(StoreError):
    """The file is no store, or a page of it is damaged."""


class StoreReadOnly(StoreError):
    """The folder or the file cannot be written."""


class StoreFull(StoreError):
    """No space left: messages fail and state stays at the last commit."""


class StoreTooNew(StoreError):
    """The store was written by a newer version of agentlab."""


class StepFailed(AgentLabError):
    """A step could not be finished.

    Attributes:
        fault: The classified fault, where there is one.
        does: What was decided of it by the fault table, once it was: ``"crash"``, ``"tell_model"`` ...
        ran: Whether it may have had an effect; False where it is certain that it had none: then it may be tried again,
            though it is ``once=True``.
    """

    does = ""
    ran = True

    def __init__(self, message: str, fault: Any = None) -> None:  # a Fault; faults stands above this floor
        super().__init__(message)
        self.fault = fault


class ModelFailed(StepFailed):
    """A model call was refused or failed, or its answer has not the shape of an answer.

    Attributes:
        usage_lower_bound: Tokens billed at least: ``input_tokens`` and ``output_tokens``.
        cost_usd: What these cost, where the price is known.
    """

    cost_usd: float | None = None

    def __init__(self, message: str, fault: Any = None, *, usage: dict[str, int] | None = None) -> None:
        super().__init__(message, fault)  # a fault as in StepFailed
        self.usage_lower_bound = usage or {}


class IncompleteStream(ModelFailed):
    """An answer that began and did not end as it should. Nothing of it was used.

    Attributes:
        kind: What is missing or wrong (``"cut"``, ``"no_stop"``, ``"tool_json"`` ...).
        bytes: Bytes of the stream that arrived.
        partial_text: The text up to there.
        usage_lower_bound: Tokens billed at least: ``input_tokens`` and ``output_tokens``.
    """

    def __init__(
        self, message: str, fault: Any = None, *, kind: str = "cut", bytes: int = 0,  # noqa: A002 - the contract's word
        partial_text: str = "", usage_lower_bound: dict[str, int] | None = None,
    ) -> None:  # fmt: skip  # a fault as in StepFailed
        super().__init__(message, fault, usage=usage_lower_bound)
        self.kind = kind
        self.bytes = bytes
        self.partial_text = partial_text


class ModelRefused(ModelFailed):
    """The model stopped with ``refusal``: it will not answer this.

    Attributes:
        category: What the provider says it is about (``"cyber"``, ``"bio"`` ...), if it says so.
    """

    def __init__(
        self, message: str, fault: Any = None, *, category: str | None = None, usage: dict[str, int] | None = None
    ) -> None:  # a fault as in StepFailed
        super().__init__(message, fault, usage=usage)
        self.category = category


class ContextWindowExceeded(ModelFailed):
    """The model stopped with ``model_context_window_exceeded``: the conversation is longer than it can read."""


class InvalidAnswer(ModelFailed):
    """The model's answers were no good, and it was told so as often as ``max_repairs`` allows.

    Attributes:
        answer: The text of the last one, cut.
    """

    def __init__(self, message: str, fault: Any = None, *, answer: str = "") -> None:  # a fault as in StepFailed
        super().__init__(message, fault)
        self.answer = answer


class ToolLoop(ModelFailed):
    """The model made the same tool calls again and again, found the same, and went on when it was told so."""


class TurnLimitReached(ModelFailed):
    """There was no answer within ``max_turns`` model calls."""


class ToolFailed(StepFailed):
    """A tool refused its input or raised; the message says why in words a model can act on."""


class BudgetExceeded(AgentLabError):
    """A limit on tokens, cost or time was reached; the agent is parked until somebody raises it.

    Attributes:
        path: Whose budget it is; empty for the limit of one ``ask``.
        what: ``tokens``, ``cost_usd`` or ``seconds``.
    """

    def __init__(self, message: str, *, path: str = "", what: str = "tokens") -> None:
        super().__init__(message)
        self.path = path
        self.what = what


class RunDiffers(AgentLabError, ValueError):
    """An eval's store holds a run of other samples, another solver, other scorers or another seed."""


class InsecureCluster(AgentLabError):
    """A cluster is beyond this machine and its lines are not encrypted, and nobody said ``insecure=True``."""


class WorkerRefused(AgentLabError):
    """Workers of a cluster cannot work for this process: classes and results would not survive the way.

    Attributes:
        table: What must match and does not: (what, here, there).
    """

    def __init__(self, message: str, table: list[tuple[str, str, str]]) -> None:
        super().__init__(message)
        self.table = table


class ClusterLost(AgentLabError):
    """The scheduler of a cluster is gone while an eval ran on it; what had ended is kept."""


class SamplesFailed(AgentLabError):
    """Samples of a run ended without a score, and ``on_failure="raise"`` makes an error of that."""


class InvariantBroken(AgentLabError, AssertionError):
    """Something that must be true after a run, whatever was done to it, is not: ``agentlab.chaos.invariants``.

    Attributes:
        report: What was looked at, and what does not hold.
    """

    def __init__(self, message: str, *, report: Any = None) -> None:  # a Report, which stands floors above
        super().__init__(message)
        self.report = report
