"""Messages from cells: handed over from any thread, taken into the books in the loop, answered where they are awaited.

All that wait are taken in one turn of the loop, so a thousand calls of a cell are one commit.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from agentlab.books.messages import Message
from agentlab.kernel.desk import Desk
from agentlab.kernel.mail import MAX_MAILBOX, Mail, full
from agentlab.kernel.thread import LoopThread
from agentlab.ref.link import Outgoing, links
from agentlab.ref.reply import Reply
from agentlab.wire.exceptions import as_seen
from agentlab.wire.packing import pack, unpack


class Posts:
    """What cells have sent and the books do not hold yet."""

    def __init__(self, desk: Desk, mail: Mail, thread: LoopThread, lab_id: str) -> None:
        self._desk = desk
        self._mail = mail
        self._thread = thread
        self._lab_id = lab_id
        self._waiting: deque[Post] = deque()
        self._told = False  # the loop knows that there are some
        self.now = desk.loop.time  # the clock of pauses, from any thread
        self.look = thread.look  # raises where a wait for an answer would have no end

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def send(self, message: Outgoing) -> Reply | None:
        """Hand a message over, from any thread.

        Raises:
            LabClosed: Nobody takes it any more.
            MailboxFull: It is a cast, and the agent has too many messages already.
        """
        what = f"{message.path}.{message.method}"
        keep = (None if message.call else True) if self._desk.ledger.durable else False
        payload = pack((message.args, message.kwargs), f"the arguments of {what}", keep=keep)
        post = Post(self, message, payload)
        reply = post.reply = Reply(what, message.timeout, post) if message.call else None
        if self._thread.why is not None:
            self._thread.check(what)
        if not message.call:
            entry = self._desk.entries.peek(message.path)
            if entry is not None and len(entry.pending) >= MAX_MAILBOX:
                raise full(entry)
        self._waiting.append(post)
        if not self._told:
            self._told = True
            self._thread.post(self.take)
        return reply

    def take(self) -> None:
        """Take all that wait into the books."""
        self._told = False
        while self._waiting:
            post = self._waiting.popleft()
            given, answer = post.message, post.answer if post.reply is not None else None
            post.sent = self._mail.send(
                given.path, given.method, post.payload, answer=answer, redeliver=given.redeliver,
                hears=given.hears,
            )  # fmt: skip
        self._desk.due()

    def withdraw(self, post: Post) -> bool:
        """Take a message back, from any thread; whether it was there."""
        return bool(self._thread.run(self._withdraw, post))

    def _withdraw(self, post: Post) -> bool:
        self.take()
        return post.sent is not None and self._mail.withdraw(post.message.path, post.sent)

    def opened(self, value: bytes) -> Any:
        """What an answer holds; agents in it are this lab's."""
        return unpack(value, links.get(self._lab_id))


class Post:
    """One message of a cell, and the way back to it: what its ``Reply`` asks the lab."""

    __slots__ = ("message", "payload", "posts", "reply", "sent")

    def __init__(self, posts: Posts, message: Outgoing, payload: bytes) -> None:
        self.posts = posts
        self.message = message
        self.payload = payload
        self.reply: Reply | None = None  # until it is answered
        self.sent: Message | None = None  # in the books, until then

    @property
    def begun(self) -> bool | None:
        """Whether its handler runs; None while the books do not have it."""
        return None if self.sent is None else bool(self.sent.begun)

    @property
    def paused(self) -> float:
        """Seconds that it, or whom its handler asked, has waited for what nobody can hurry."""
        pause = None if self.sent is None else self.sent.pause
        return 0.0 if pause is None else pause.seconds(self.posts.now())

    def take_back(self) -> bool:
        """Whether it is being taken back."""
        return self.posts.withdraw(self)

    def look(self) -> None:
        """Raise where no answer can come any more."""
        self.posts.look()

    def answer(self, value: Any, error: BaseException | None = None) -> None:
        """The answer is there, and committed; it is read in the thread of who waits.

        Reply and message are let go of, which hold on to this: else each call were garbage for the collector.
        """
        reply, self.reply, self.sent = self.reply, None, None
        opened = self.posts.opened
        if reply is not None:
            reply._settle((lambda: _raise(error)) if error is not None else (lambda: opened(value)))


def _raise(error: BaseException) -> None:
    raise as_seen(error)
