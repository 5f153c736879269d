"""How the questionnaire's report prints texts, numbers and tables, as HTML and as Markdown.

System names and texts come from files and models, and may hold anything: here they lose what could steer a terminal,
break a table or be taken for markup.
"""

import html
import unicodedata

import numpy as np
import pandas as pd

NO_VALUE = "–"
BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
TESTS = ("p_", "wilcoxon")  # how the names of columns of p-values begin, other than p itself
SIGNED = ("difference", "strength")
# Columns whose round values are printed with decimals, as the others are.
DECIMALS = (*SIGNED, "mean", "low", "high", "deviation", "rate", "alpha")
HEADERS = {
    "high": "95 % interval",
    "p_holm": "p (Holm)",
    "deviation": "standard deviation",
    "wilcoxon_items": "Wilcoxon over photos",
    "wilcoxon_items_holm": "(Holm)",
    "wilcoxon_raters": "Wilcoxon over raters",
    "wilcoxon_raters_holm": "(Holm)",
}


def plain(text: object) -> str:
    """Return text on one line, without what steers a terminal or turns the writing's direction, and in valid UTF-8."""
    kept = (sign if unicodedata.category(sign) not in ("Cc", "Cs") and sign not in BIDI else " " for sign in str(text))
    return "".join(kept)


def escape(text: object) -> str:
    """Return text for HTML; line breaks stay."""
    return html.escape("\n".join(map(plain, str(text).splitlines())))


def printed(value: float, name: str) -> str:
    """Return a number as a column of this name shows it."""
    if pd.isna(value):
        return NO_VALUE
    if name == "p" or name.startswith(TESTS):
        return f"{value:.3f}" if value >= 0.001 else "< 0.001"
    if float(value).is_integer() and name not in DECIMALS:
        return f"{value:.0f}"
    return f"{value:+.2f}" if name in SIGNED else f"{value:.2f}"


def printed_columns(table: pd.DataFrame) -> list[tuple[str, list[str], bool]]:
    """Return header, texts and whether they are numbers for each column; low and high become one, the interval."""
    columns = []
    for name in table.columns:
        values = table[name]
        number = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
        texts = [printed(value, name) if number else _word(value) for value in values]
        if name == "high":
            _, lows, _ = columns.pop()
            texts = [high if high == NO_VALUE else f"{low} to {high}" for low, high in zip(lows, texts, strict=True)]
        columns.append((HEADERS.get(name, name.replace("_", " ")), texts, number))
    return columns


def _word(value: object) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    return str(value)


def html_table(table: pd.DataFrame) -> str:
    columns = printed_columns(table)
    kinds = [' class="number"' if number else "" for *_, number in columns]

    def line(tag: str, texts) -> str:
        cells = (f"<{tag}{kind}>{escape(text)}</{tag}>" for kind, text in zip(kinds, texts, strict=True))
        return f"<tr>{''.join(cells)}</tr>"

    rows = zip(*(texts for _, texts, _ in columns), strict=True)
    return f"<table>{line('th', (header for header, *_ in columns))}{''.join(line('td', row) for row in rows)}</table>"


def markdown_table(table: pd.DataFrame) -> str:
    columns = printed_columns(table)
    rows = zip(*([plain(text).replace("|", "\\|") for text in texts] for _, texts, _ in columns), strict=True)
    rule = ["---:" if number else "---" for *_, number in columns]
    lines = [[header for header, *_ in columns], rule, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
