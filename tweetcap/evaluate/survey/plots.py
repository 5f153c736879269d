"""The plots of a questionnaire's report, as SVG whose letters are paths: they look the same wherever they are seen."""

import io
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from tweetcap.evaluate.contact_sheet import font_families
from tweetcap.evaluate.survey.statistics import SCORES

WIDTH = 9.0  # inches
ROW = 0.28  # inches a bar or point takes
HEAD = 0.75  # inches a panel's title and axis take
NAME_LENGTH = 24  # characters of a system's name
SCORE_COLOURS = ("#c2543b", "#eab28a", "#e3e3e3", "#9fc5e0", "#3a78ad")  # told apart by the colour-blind too
WIN_COLOURS = ("#3a78ad", "#e3e3e3", "#c2543b")
POINT_COLOUR = "#2b5f8c"


def plot_distributions(distribution: pd.DataFrame, titles: Mapping[str, str]) -> str:
    """Draw the share of each score as stacked bars, a panel a question.

    Args:
        distribution: see `tweetcap.evaluate.survey.statistics.score_distribution`.
        titles: of the panels, by question.

    Returns:
        SVG.
    """

    def draw(axes, rows: pd.DataFrame) -> None:
        shares = rows.pivot(index="system", columns="score", values="share").iloc[::-1]
        left = np.zeros(len(shares))
        for score, colour in zip(SCORES, SCORE_COLOURS, strict=True):
            widths = 100 * shares[score].to_numpy()
            axes.barh(_short(shares.index), widths, left=left, color=colour, label=str(score), height=0.75)
            for place, width in enumerate(widths):
                if width >= 6:  # per cent: a narrower bar has no room for a number
                    axes.text(left[place] + width / 2, place, f"{width:.0f}", ha="center", va="center", fontsize=7)
            left += widths
        axes.set_xlim(0, 100)

    return _panels(distribution, titles, draw, rows_each=distribution["system"].nunique(), unit="% of answers")


def plot_means(means: pd.DataFrame, titles: Mapping[str, str]) -> str:
    """Draw each system's mean with its interval, a panel a question: `statistics.system_means`."""

    def draw(axes, rows: pd.DataFrame) -> None:
        _points(axes, _short(rows["system"]), rows["mean"], rows["low"], rows["high"])
        axes.set_xlim(SCORES[0], SCORES[-1])

    return _panels(means, titles, draw, rows_each=means["system"].nunique(), unit="mean score, 95 % interval")


def plot_differences(differences: pd.DataFrame, titles: Mapping[str, str]) -> str:
    """Draw each two systems' difference: `tweetcap.evaluate.survey.statistics.system_differences`."""
    reach = np.nanmax(np.abs(differences[["difference", "low", "high"]].to_numpy(dtype=float)), initial=0.1)

    def draw(axes, rows: pd.DataFrame) -> None:
        _points(axes, _pairs(rows), rows["difference"], rows["low"], rows["high"])
        axes.axvline(0, color="#999999", linewidth=0.8, zorder=0)
        axes.set_xlim(-1.1 * reach, 1.1 * reach)

    pairs = differences.groupby("question").size().max()
    return _panels(
        differences, titles, draw, rows_each=pairs, unit="points by which the first is better, 95 % interval"
    )


def plot_win_rates(rates: pd.DataFrame, title: str) -> str:
    """Draw wins, ties and losses of each two systems as stacked bars: `preferences.win_rates`."""

    def draw(axes, rows: pd.DataFrame) -> None:
        rows = rows.iloc[::-1]
        left = np.zeros(len(rows))
        for name, colour in zip(("wins", "ties", "losses"), WIN_COLOURS, strict=True):
            widths = 100 * (rows[name] / rows["answers"]).to_numpy()
            label = {"wins": "the first", "ties": "neither", "losses": "the second"}[name]
            axes.barh(_pairs(rows), widths, left=left, color=colour, label=label, height=0.75)
            left += widths
        axes.set_xlim(0, 100)

    return _panels(rates.assign(question=""), {"": title}, draw, rows_each=len(rates), unit="% of choices")


def plot_strengths(strengths: pd.DataFrame, title: str) -> str:
    """Draw each system's strength with its interval: `tweetcap.evaluate.survey.preferences.strengths`."""

    def draw(axes, rows: pd.DataFrame) -> None:
        _points(axes, _short(rows["system"]), rows["strength"], rows["low"], rows["high"])
        axes.axvline(0, color="#999999", linewidth=0.8, zorder=0)

    unit = "strength (natural logarithm), 95 % interval"
    return _panels(strengths.assign(question=""), {"": title}, draw, rows_each=len(strengths), unit=unit)


def _points(axes, labels: Sequence[str], values: pd.Series, lows: pd.Series, highs: pd.Series) -> None:
    places = np.arange(len(labels))[::-1]
    axes.hlines(places, lows, highs, color=POINT_COLOUR, linewidth=1.6)
    axes.plot(values, places, "o", color=POINT_COLOUR, markersize=4.5)
    axes.set_yticks(places, labels)
    axes.set_ylim(-0.6, len(labels) - 0.4)
    axes.grid(axis="x", color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)


def _panels(table: pd.DataFrame, titles: Mapping[str, str], draw: Callable, *, rows_each: int, unit: str) -> str:
    """Draw a panel for each question below each other; return SVG."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    questions = list(table["question"].unique())
    settings = {
        "font.family": font_families(),
        "font.size": 8,
        "svg.fonttype": "path",
        "svg.hashsalt": "tweetcap",  # the same answers give the same file
        "text.parse_math": False,  # a system's name may hold dollar signs
    }
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # a name in a script that no font has
        height = len(questions) * (HEAD + ROW * rows_each)
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        panels = figure.subplots(len(questions), squeeze=False)[:, 0]
        for axes, question in zip(panels, questions, strict=True):
            axes.set_title(titles[question], fontsize=9, loc="left")
            axes.spines[["top", "right"]].set_visible(False)
            draw(axes, table[table["question"] == question])
        panels[-1].set_xlabel(unit)
        handles, labels = panels[0].get_legend_handles_labels()
        if handles:
            figure.legend(handles, labels, ncols=len(handles), loc="outside upper right", frameon=False)
        file = io.StringIO()
        FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None})
    return file.getvalue()


def _short(names: Iterable[str]) -> list[str]:
    """Return names that fit beside a plot; where two would look the same, they are numbered in alphabetical order."""
    names = list(names)
    short = {name: name if len(name) <= NAME_LENGTH else f"{name[: NAME_LENGTH - 1]}…" for name in sorted(set(names))}
    shown = list(short.values())
    labels = [label if shown.count(label) == 1 else f"{label} ({n})" for n, label in enumerate(shown, start=1)]
    return [dict(zip(short, labels, strict=True))[name] for name in names]


def _pairs(rows: pd.DataFrame) -> list[str]:
    both = _short([*rows["system"], *rows["other"]])
    return [f"{first} – {second}" for first, second in zip(both[: len(rows)], both[len(rows) :], strict=True)]
