"""What all charts share: where their rows come from, axes of names, legends, and the look they end with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

from agentlab.errors import InvalidArgument
from agentlab.ground.given import shown
from agentlab.ground.still import SMALLEST, WIDTHS, still
from agentlab.ground.texts import clean

if TYPE_CHECKING:  # both cost more than the rest of the package together, and most programs draw nothing
    import altair as alt
    import pandas as pd

MOST = 20  # bars in one chart: more are not read
WIDTH = WIDTHS["wide"]  # pixels at which a still picture is drawn; a page makes it as wide as its cell
LONGEST = 40  # characters of a label on an axis; of a longer path the end is shown, where paths differ
FONT = "Arial, 'Liberation Sans', Helvetica, sans-serif"  # measured here, drawn in a browser: these differ least
INK = "#737b87"  # text and axes: as legible on a light page as on a dark one


class HasFrames(Protocol):
    """What a chart needs of a lab, or of a stored one."""

    def restarts(self) -> pd.DataFrame:
        """One row per restart."""

    def messages(self) -> pd.DataFrame:
        """One row per handled message."""

    def events(self) -> pd.DataFrame:
        """One row per committed event."""

    def steps(self) -> pd.DataFrame:
        """One row per attempt at a step."""

    def spend(self) -> pd.DataFrame:
        """One row per agent and model."""


class HasRun(Protocol):
    """What a chart needs of a run of an eval."""

    @property
    def name(self) -> str:
        """Its name."""

    def summary(self) -> pd.DataFrame:
        """One row per metric."""

    def samples(self) -> pd.DataFrame:
        """One row per sample and epoch."""

    def messages(self) -> pd.DataFrame:
        """One row per handled message of its samples."""

    def steps(self) -> pd.DataFrame:
        """One row per attempt at a step of its samples."""


def frame_of(source: pd.DataFrame | HasFrames | HasRun, name: str, *columns: str) -> pd.DataFrame:
    """The frame that was given, or the lab's of that name; it has these columns, or no rows."""
    import pandas as pd

    frame = source if isinstance(source, pd.DataFrame) else getattr(source, name, None)
    if frame is None or isinstance(source, type):
        raise InvalidArgument(f"charts draw a DataFrame or a lab; got {shown(source)}. Try lab.{name}().")
    frame = frame if isinstance(frame, pd.DataFrame) else frame()
    missing = [column for column in columns if column not in frame]
    if missing and len(frame):
        has = ", ".join(map(str, frame.columns[:20]))
        raise InvalidArgument(f"the frame to draw has no column {shown(missing[0])}; it has {has}. Try lab.{name}().")
    return frame


def numbers_of(frame: pd.DataFrame, column: str) -> pd.Series[Any]:
    """A column of numbers; refused by its name if it holds others."""
    import pandas as pd

    try:
        numbers: pd.Series[Any] = pd.to_numeric(frame[column])
    except (TypeError, ValueError) as error:
        raise InvalidArgument(
            f"column {column!r} of the frame to draw must hold numbers; got others: {error}"
        ) from None
    return numbers


def keep_most(words: pd.Series[Any], most: int, rest: str) -> pd.Series[Any]:
    """The frequent words as they are, the others as ``rest``."""
    return words if words.nunique() <= most else words.where(words.isin(by_number(words)[: most - 1]), rest)


def by_number(words: pd.Series[Any], rest: str = "") -> list[str]:
    """Each word once, the most frequent first, and ``rest`` last."""
    counts = words.value_counts().reset_index().set_axis(["word", "n"], axis=1)
    counts["rest"] = counts["word"] == rest
    return [str(word) for word in counts.sort_values(["rest", "n", "word"], ascending=[True, False, True])["word"]]


def words_of(
    column: pd.Series[Any], missing: str = "unknown", make: Callable[[str], str] | None = None
) -> pd.Series[Any]:
    """A column of texts as labels; each distinct text is looked at once, however many rows have it."""
    import pandas as pd

    codes, texts = pd.factorize(column if isinstance(column.dtype, pd.CategoricalDtype) else column.astype("string"))
    words = pd.Series([*((make or label)(str(text)) for text in texts), missing], dtype="object")
    return words.iloc[codes].set_axis(column.index)  # what is missing has the code -1, the last one


def label(text: object) -> str:
    """A text as a label: one line, not too long."""
    return clean(text, 60)


def axis_of_names(*, between: bool = False) -> alt.Axis:
    """An axis of names; of a long one the end is shown. With lines between the rows if asked for."""
    import altair as alt

    cut = f"length(datum.label) > {LONGEST} ? '…' + slice(datum.label, 1 - {LONGEST}) : datum.label"
    return alt.Axis(labelExpr=cut, labelLimit=0, grid=between, tickBand="extent" if between else "center")


def legend_for(labels: list[str]) -> alt.Legend:
    """A legend with as many columns as have room side by side."""
    import altair as alt

    widest = 60 + 8 * max(map(len, labels))  # symbol, gap, and letters of 12 pixels in a wide font
    return alt.Legend(
        rowPadding=6, columnPadding=24 + max(map(len, labels)), columns=max(1, min(len(labels), int(WIDTH // widest)))
    )


def finish(
    chart: Any, title: str, subtitle: str = "", *, rows: int, names: Iterable[str] = ()
) -> alt.Chart | alt.LayerChart:  # base is private
    """The look that all charts share, with room to the left of ``names`` for a browser whose letters are wider."""
    import altair as alt

    _draw_offline()
    spare = min(LONGEST, max(map(len, names), default=0))
    heading = alt.TitleParams(title, subtitle=subtitle or alt.Undefined)
    small = {"labelColor": INK, "titleColor": INK, "labelFontSize": SMALLEST, "titleFontSize": SMALLEST}
    finished: alt.Chart | alt.LayerChart = (
        chart.properties(title=heading, width="container", height=max(60, 26 * rows))
        .properties(padding={"left": 5 + spare, "right": 20, "top": 5, "bottom": 5})
        .configure(background="transparent", font=FONT)
        .configure_view(stroke=None, continuousWidth=WIDTH, discreteWidth=WIDTH)
        .configure_title(
            color=INK, fontWeight=600, fontSize=14, subtitleColor=INK, subtitleFontSize=SMALLEST,
            anchor="start", frame="group", offset=10,
        )
        .configure_axis(gridColor="#88888833", domain=False, ticks=False, labelPadding=6, **small)
        .configure_legend(orient="bottom", symbolType="square", labelLimit=400, columnPadding=24, **small)
    )  # fmt: skip
    return finished


def nothing(what: str, source: object = None) -> alt.Chart:
    """A chart that says that there is nothing to draw: not yet, or not in the span of time that ``source`` is of."""
    import altair as alt
    import pandas as pd

    _draw_offline()
    message = f"{what} {'yet' if isinstance(source, pd.DataFrame) else getattr(source, 'when', 'yet')}"
    chart: alt.Chart = (
        alt.Chart(pd.DataFrame({"message": [message]}))
        .mark_text(color=INK, fontSize=14)
        .encode(text="message:N")
        .properties(width="container", height=60)
        .configure(background="transparent", font=FONT)
        .configure_view(stroke=None, continuousWidth=WIDTH)
    )
    return chart


def _draw_offline() -> None:
    """Altair's own default asks another host for its scripts; SVG is drawn here, the same bytes every time."""
    import altair as alt

    if alt.renderers.active == "default":
        alt.renderers.register("agentlab", still)
        alt.renderers.enable("agentlab")
