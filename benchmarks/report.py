"""Results for people: a table in Markdown, a plot, and the same in docs/speed.md, where no figure is typed by hand."""

from pathlib import Path
from typing import Any

from benchmarks.results import BenchmarkError, Figure, Results, Section

TABLE, PLOT = "table.md", "plot.png"
BEGIN, END = "<!-- figures: by `python -m benchmarks --write-docs` -->", "<!-- end of figures -->"
DOCS_PLOT = "speed.png"
TITLES = {
    "stages": "Where the time of eight tweets goes",
    "peers": "Beside others",
    "start": "A fresh process",
    "folder": "A folder",
    "memory": "A resident server",
    "training": "Training",
}


def table(results: Results) -> str:
    """Return all sections as Markdown, each with its own table."""
    lines = [conditions(results.machine), ""]
    if results.quick:
        lines += ["Taken with `--quick`: good for trying the benchmarks, not for being quoted.", ""]
    for name in TITLES:
        if name in results.sections:
            section = results.sections[name]
            lines += [f"### {TITLES[name]}", "", "| | median | 95 % interval |", "|---|---:|---:|"]
            lines += map(row, section.figures)
            lines += ["", note(section), ""]
    return "\n".join(lines)


def conditions(machine: dict[str, Any]) -> str:
    arithmetic = "bfloat16" if machine["bfloat16"] else "no bfloat16"
    accelerator = machine["accelerator"] or "no GPU"
    return (
        f"{machine['threads']} threads of {machine['processor']} ({arithmetic}), {accelerator}; Python "
        f"{machine['python']}, torch {machine['torch']}, transformers {machine['transformers']}."
    )


def note(section: Section) -> str:
    others = "" if section.others is None else f"; other programs used {section.others:.0%} of the processors meanwhile"
    return f"Taken {section.taken[:10]}{others}."


def row(figure: Figure) -> str:
    interval = "" if figure.low is None else f"{number(figure.low)} to {number(figure.high)}"
    return f"| {figure.name} | {number(figure.value)}{f' {figure.unit}' if figure.unit else ''} | {interval} |"


def number(value: float) -> str:
    """Return three digits that count, without an exponent."""
    size = abs(value)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 or not size else 3
    return f"{value:,.{digits}f}"


def plot(section: Section, path: Path) -> None:
    """Draw how long each system takes for a photo, shortest first."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figures = sorted((figure for figure in section.figures if figure.unit == "ms"), key=lambda figure: figure.value)
    values = [figure.value for figure in figures]
    spread = [[f.value - f.low for f in figures], [f.high - f.value for f in figures]]
    colours = ["tab:orange" if figure.name.startswith("tweetcap") else "tab:gray" for figure in figures]
    canvas, axes = pyplot.subplots(figsize=(8, 0.4 * len(figures) + 0.8), layout="constrained")
    bars = axes.barh([figure.name for figure in figures], values, xerr=spread, color=colours)
    axes.bar_label(bars, [f"{number(value)} ms" for value in values], padding=6)
    axes.set(xscale="log", xlabel="milliseconds from JPEG bytes, median and 95 % interval")
    axes.set_xlim(right=4 * max(values))  # room for the labels
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    canvas.savefig(path, dpi=100)
    pyplot.close(canvas)


def save(results: Results, folder: Path) -> None:
    """Write the table, and the plot where there are peers to draw."""
    (folder / TABLE).write_text(table(results), encoding="utf-8")
    if "peers" in results.sections:
        plot(results.sections["peers"], folder / PLOT)


def write_docs(results: Results, page: Path) -> None:
    """Put the table between the page's marks, and the plot beside the page.

    Raises:
        BenchmarkError: the page has no such marks, or a section is missing.
    """
    missing = [name for name in TITLES if name not in results.sections]
    if missing:
        raise BenchmarkError(f"{page.name} shows all sections; {', '.join(missing)} must be taken first.")
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise BenchmarkError(f"{page} has no lines {BEGIN} and {END}, between which figures go; add them.")
    plot(results.sections["peers"], page.with_name(DOCS_PLOT))
    picture = f"![Milliseconds a photo: tweetcap beside others]({DOCS_PLOT})"
    page.write_text(f"{before}{begin}\n\n{picture}\n\n{table(results)}\n{end}{after}", encoding="utf-8")
