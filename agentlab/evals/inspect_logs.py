"""Inspect AI's logs: a run goes out as one, samples come in from one. Needs the extra ``inspect``.

Words are the same on both sides (sample, epoch, score); what Inspect has no word for (dispositions, restarts, waits)
is in each sample's ``store``, below ``agentlab:``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentlab.errors import InvalidSpec
from agentlab.evals.conversations import block_text, content_text, conversation
from agentlab.evals.ledger import rows_of
from agentlab.evals.samples import Sample, read
from agentlab.ground.given import shown

if TYPE_CHECKING:
    import pandas as pd

KEPT = (
    "disposition", "fault", "attempts", "restarts", "rewound", "repairs", "waits_s", "rerolled", "turns", "tool_calls",
    "cost_usd", "wasted_usd",
)  # fmt: skip
"""What of a sample Inspect has no word for."""

JSON = dict[str, Any]


def write_log(run: Any, path: str | os.PathLike[str]) -> Path:  # a Run, which imports this
    """Write a run as a log that ``inspect_ai.log.read_eval_log`` reads.

    Args:
        run: Which.
        path: The file, ``.eval`` or ``.json``.

    Raises:
        InvalidSpec: Inspect AI is not installed, or the file has another ending.
    """
    where = Path(path)
    if where.suffix not in (".eval", ".json"):
        raise InvalidSpec(f"to_inspect: the file must end in .eval or .json; got {shown(path)}", kind="invalid_path")
    log = _inspect("log", "to_inspect")
    about, frame, summary = run._about(), run.samples(), run.summary()
    with run._labs() as labs:
        rows = {(row["id"], row["epoch"]): row for row in rows_of(labs[None]._read(), run.name)}
        homes = {row["path"]: labs.get(row.get("store"), labs[None]) for row in rows.values()}
        said = {path: conversation(lab._read(), path) for path, lab in homes.items()}
    asked = {str(each["id"]): each for each in about["samples"]}
    made = [
        _sample(asked[row["id"]], row, rows.get((row["id"], row["epoch"])), said.get(str(row["path"]), []))
        for row in frame.to_dict("records")
    ]
    began = min((row["began"] for row in rows.values()), default=0.0)
    ended = max((row["ended"] for row in rows.values()), default=0.0)
    stopped = bool((frame["disposition"] == "stopped").any())
    written = log.EvalLog(
        status="cancelled" if stopped else "success",
        eval=_spec(run.name, about, frame, began),
        results=_results(summary, frame, run._reduce.__name__),
        stats=log.EvalStats(started_at=_time(began), completed_at=_time(ended)),
        samples=made,
    )
    log.write_eval_log(written, str(where))
    return where


def samples_from_inspect(task_or_log: Any) -> list[Sample]:
    """The samples of an Inspect task, dataset or log, for ``evaluate``.

    Args:
        task_or_log: A ``Task``, a ``Dataset``, an ``EvalLog``, or the path of a log.

    Raises:
        InvalidSpec: It has no samples, or Inspect AI is not installed.
    """
    given = task_or_log
    if isinstance(given, (str, os.PathLike)):
        given = _inspect("log", "samples_from_inspect").read_eval_log(str(given))
    found = getattr(given, "dataset", None) or getattr(given, "samples", None) or given
    if isinstance(found, (str, Mapping)) or not isinstance(found, Iterable):
        raise InvalidSpec(
            f"samples_from_inspect: give a Task, a Dataset, or a log with samples; got {shown(task_or_log)}",
            kind="invalid_samples", value=task_or_log,
        )  # fmt: skip
    once = {getattr(each, "id", None) or number: each for number, each in enumerate(found, 1)}
    return read(list(once.values()))  # of a log each sample once, whatever its epochs


def _inspect(part: str, who: str) -> Any:
    import importlib

    try:
        return importlib.import_module(f"inspect_ai.{part}")
    except ModuleNotFoundError:
        raise InvalidSpec(
            f"{who} needs Inspect AI: pip install 'jupyter-agentlab[inspect]'", kind="missing_extra"
        ) from None


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()


def _spec(name: str, about: JSON, frame: pd.DataFrame, began: float) -> Any:
    log = _inspect("log", "to_inspect")
    solver = about["identity"]["solver"]
    ids = [sample["id"] for sample in about["samples"]]
    return log.EvalSpec(
        created=_time(began), task=name, solver=solver["name"], model=solver.get("model", solver["name"]),
        dataset=log.EvalDataset(name=name, samples=len(ids), sample_ids=ids),
        config=log.EvalConfig(epochs=int(frame["epoch"].max())), tags=list(about["tags"]),
        packages={"agentlab": metadata.version("jupyter-agentlab")}, metadata={"identity": about["identity"]},
    )  # fmt: skip


def _results(summary: pd.DataFrame, frame: pd.DataFrame, reducer: str) -> Any:
    log = _inspect("log", "to_inspect")
    scores = [
        log.EvalScore(
            name=row["metric"], scorer=row["metric"], reducer=reducer, scored_samples=int(row["n"]),
            metrics={
                name: log.EvalMetric(name=name, value=float(row[name]))
                for name in ("mean", "stderr", "ci_low", "ci_high")
                if row[name] == row[name]  # a number, not NaN
            },
        )
        for row in summary.to_dict("records")
    ]  # fmt: skip
    ended = int(frame["disposition"].isin(["scored"]).sum())
    return log.EvalResults(total_samples=len(frame), completed_samples=ended, scores=scores)


def _sample(asked: JSON, row: Mapping[Any, Any], kept: Mapping[str, Any] | None, said: Sequence[JSON]) -> Any:
    log, model = _inspect("log", "to_inspect"), _inspect("model", "to_inspect")
    error = None if _missing(row["error"]) else str(row["error"])
    output = "" if _missing(row["output"]) else _text(row["output"])
    usage = model.ModelUsage(input_tokens=_count(row["tokens_in"]), output_tokens=_count(row["tokens_out"]))
    usage.total_tokens = usage.input_tokens + usage.output_tokens
    made = model.ModelOutput.from_content(model="agentlab", content=output)
    made.usage = usage
    times = {} if kept is None else {"started_at": _time(kept["began"]), "completed_at": _time(kept["ended"])}
    more = {} if asked["metadata"].get("choices") is None else {"choices": [*map(str, asked["metadata"]["choices"])]}
    target = asked["target"]
    return log.EvalSample(
        id=asked["id"], epoch=int(row["epoch"]), input=_text(asked["input"]),
        target=[*map(_text, target)] if isinstance(target, list) else "" if target is None else _text(target),
        messages=messages_of(said if _asked(said) else [{"role": "user", "content": _text(asked["input"])}, *said]),
        output=made, scores=_scores(kept), metadata=asked["metadata"], **more,
        error=None if error is None else log.EvalError(message=error, traceback=error, traceback_ansi=error),
        store={f"agentlab:{name}": None if _missing(row[name]) else _plain(row[name]) for name in KEPT},
        total_time=None if _missing(row["latency_s"]) else float(row["latency_s"]), **times,
    )  # fmt: skip


def _asked(said: Sequence[JSON]) -> bool:
    return bool(said) and said[0]["role"] == "user"


def _scores(kept: Mapping[str, Any] | None) -> Any:
    scorer = _inspect("scorer", "to_inspect")
    found = {} if kept is None else kept["scores"]
    return {
        name: scorer.Score(value=each["value"], answer=each.get("answer"), explanation=each.get("explanation"))
        for name, each in found.items()
        if "value" in each
    }


def messages_of(said: Sequence[JSON]) -> list[Any]:
    """A conversation of the Messages API as Inspect's chat messages, tool calls and their results included."""
    model, tool = _inspect("model", "to_inspect"), _inspect("tool", "to_inspect")
    found: list[Any] = []
    names: dict[str, str] = {}
    for message in said:
        blocks = message["content"]
        blocks = [{"type": "text", "text": blocks}] if isinstance(blocks, str) else blocks
        text = "\n".join(block_text(block) for block in blocks if block["type"] not in ("tool_use", "tool_result"))
        if message["role"] == "assistant":
            calls = [block for block in blocks if block["type"] == "tool_use"]
            names |= {block["id"]: block["name"] for block in calls}
            asked = [tool.ToolCall(id=each["id"], function=each["name"], arguments=each["input"]) for each in calls]
            found.append(model.ChatMessageAssistant(content=text, tool_calls=asked or None))
            continue
        for block in (block for block in blocks if block["type"] == "tool_result"):
            told = content_text(block.get("content"))
            wrong = tool.ToolCallError("unknown", told) if block.get("is_error") else None
            id_ = block["tool_use_id"]
            found.append(model.ChatMessageTool(content=told, tool_call_id=id_, function=names.get(id_), error=wrong))
        if text or not any(block["type"] == "tool_result" for block in blocks):
            found.append(model.ChatMessageUser(content=text))
    return found


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _missing(value: Any) -> bool:
    import pandas as pd

    return value is None or (not isinstance(value, (str, list, dict)) and bool(pd.isna(value)))


def _count(value: Any) -> int:
    return 0 if _missing(value) else int(value)


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
