"""What a person may say to a model: text, images and documents, as the content of one message. Pure but for files."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from agentlab.errors import InvalidArgument

JSON = dict[str, Any]  # a JSON object

Attached = str | bytes | Path
"""An image or a document: its bytes, a path, or an address that begins with http:// or https://."""

_BEGINS = (
    (b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"), (b"%PDF-", "application/pdf"),
)  # fmt: skip
_SAID = ("text", "image", "document")


def content_of(
    text: str | Sequence[JSON], images: Sequence[Attached] = (), documents: Sequence[Attached] = ()
) -> str | list[JSON]:
    """The content of a user's message; plain text stays plain.

    Raises:
        InvalidArgument: There is nothing to say, or something that no model takes; says which and why.
    """
    blocks = _checked_text(text)
    if isinstance(text, str) and not images and not documents:
        return text
    # Providers answer best when what is asked about comes before the question.
    return [*map(_document, documents), *map(_image, images), *blocks]


def _checked_text(text: str | Sequence[JSON]) -> list[JSON]:
    if isinstance(text, str):
        if not text.strip():
            raise InvalidArgument(
                f"ask: text is {text!r}; a model takes at least one character that is not a space.", argument="text"
            )
        return [{"type": "text", "text": text}]
    if not text:
        raise InvalidArgument("ask: text is an empty list; a message has at least one block.", argument="text")
    return [_checked(index, block) for index, block in enumerate(text)]


def without_data(content: Any) -> Any:
    """Content as the frames show it: bytes that nobody can read are only counted."""
    if isinstance(content, list):
        return [without_data(block) for block in content]
    if not isinstance(content, dict):
        return content
    if content.get("type") == "base64" and isinstance(content.get("data"), str):
        return {**content, "data": f"[{len(content['data'])} characters of base64]"}
    return {name: without_data(value) if name in ("source", "content") else value for name, value in content.items()}


def _checked(index: int, block: JSON) -> JSON:
    kind = block.get("type")
    if kind not in _SAID:
        raise InvalidArgument(
            f"ask: block {index} has type {kind!r:.80}; a user's message takes {', '.join(_SAID)}.", argument="text"
        )
    if kind == "text" and not (isinstance(block.get("text"), str) and block["text"].strip()):
        raise InvalidArgument(f"ask: block {index} is text without any: {block!r:.200}.", argument="text")
    if kind != "text" and not isinstance(block.get("source"), dict):
        raise InvalidArgument(
            f"ask: block {index} ({kind}) has no source: {block!r:.200}. Or give it as {kind}s=[path or bytes].",
            argument="text",
        )
    return block


def _image(given: Attached) -> JSON:
    if (address := _address(given)) is not None:
        return {"type": "image", "source": {"type": "url", "url": address}}
    data = _bytes(given, "images")
    kind = kind_of(data)
    if kind is None or not kind.startswith("image/"):
        raise InvalidArgument(
            f"ask: an image must be PNG, JPEG, GIF or WebP; {_named(given)} begins with {data[:8]!r}.",
            argument="images",
        )
    return {"type": "image", "source": {"type": "base64", "media_type": kind, "data": base64.b64encode(data).decode()}}


def _document(given: Attached) -> JSON:
    if (address := _address(given)) is not None:
        return {"type": "document", "source": {"type": "url", "url": address}}
    data = _bytes(given, "documents")
    if kind_of(data) == "application/pdf":
        source = {"type": "base64", "media_type": "application/pdf", "data": base64.b64encode(data).decode()}
        return {"type": "document", "source": source}
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise InvalidArgument(
            f"ask: a document must be PDF or UTF-8 text; {_named(given)} begins with {data[:8]!r}.",
            argument="documents",
        ) from None
    return {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": text}}


def _address(given: Attached) -> str | None:
    return given if isinstance(given, str) and given.startswith(("http://", "https://")) else None


def _bytes(given: Attached, argument: str) -> bytes:
    try:
        data = given if isinstance(given, bytes) else Path(given).read_bytes()
    except OSError as error:
        raise InvalidArgument(
            f"ask: {argument}: {error}. A path is read where the agent runs.", argument=argument
        ) from None
    if not data:
        raise InvalidArgument(f"ask: {argument}: {_named(given)} is empty.", argument=argument)
    return data


def kind_of(data: bytes) -> str | None:
    """The media type of an image or a PDF, by its first bytes; None if it is neither."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for begin, kind in _BEGINS if data.startswith(begin)), None)


def _named(given: Attached) -> str:
    return f"what was given ({len(given)} bytes)" if isinstance(given, bytes) else repr(str(given))


class _Checked:
    """Has pydantic refuse what no model takes.

    Args:
        check: Raises InvalidArgument if it is that.
        words: What is allowed, for the message, after the type.
    """

    def __init__(self, check: Callable[[Any], object], words: str) -> None:
        self._check = check
        self._words = words

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def _checked(self, value: Any) -> Any:
        try:
            self._check(value)
        except InvalidArgument as error:
            why = str(error).removeprefix("ask: ").removesuffix(".")
            raise PydanticCustomError("no_model_takes_it", "{why}", {"why": why}) from None
        return value

    def __repr__(self) -> str:
        return self._words


def _check_images(given: Sequence[Attached]) -> None:
    for each in given:
        _image(each)


def _check_documents(given: Sequence[Attached]) -> None:
    for each in given:
        _document(each)


Said = Annotated[str | list[dict[str, Any]], _Checked(_checked_text, "with something to say")]
"""What a person says: refused where the call is made if no model takes it, so that no agent dies of it."""

Images = Annotated[Sequence[Attached], _Checked(_check_images, "that can be read")]
"""Images to show a model; a path is looked at where the call is made too, and refused there if no image is in it."""

Documents = Annotated[Sequence[Attached], _Checked(_check_documents, "that can be read")]
"""Documents for a model to read; checked as ``Images`` are."""
