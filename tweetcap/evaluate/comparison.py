"""Is B better than A? Two systems on the same photos, figure by figure.

Differences get an interval by resampling photos in pairs, and a p-value by approximate randomisation: for each photo a
coin decides whether the two systems swap their texts, 10,000 times. That test is taken because it pairs the photos (a
hard photo is hard for both), fits figures that are no means, such as BLEU and distinct-n, and needs no distribution.
Holm's adjustment keeps the chance of even one false alarm in the whole table at 5 %; no figure is left out of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tweetcap.evaluate.figures import HIGHER, Figure, finite, printed
from tweetcap.evaluate.measures import Estimate, differences, holm, value

LEVEL = 0.05


@dataclass(frozen=True)
class Comparison:
    """One figure of two systems.

    Attributes:
        ours, theirs: what the two systems reach.
        difference: ours − theirs.
        p: of the test; `adjusted` by Holm for the number of figures.
        verdict: better, worse, different (where neither direction is better), or "not shown".
    """

    figure: Figure
    ours: float
    theirs: float
    difference: Estimate
    p: float
    adjusted: float
    verdict: str


def compare(ours: Sequence[Figure], theirs: Sequence[Figure], seed: int = 0) -> list[Comparison]:
    """Compare the figures that both have; both must be over the same photos in the same order."""
    by_name = {figure.name: figure for figure in theirs if figure.compared}
    shared = [figure for figure in ours if figure.compared and figure.name in by_name]
    found = differences([(figure.measure, by_name[figure.name].measure) for figure in shared], seed)
    adjusted = holm([difference.p for difference in found])
    return [
        Comparison(
            figure=figure,
            ours=value(figure.measure),
            theirs=value(by_name[figure.name].measure),
            difference=difference.estimate,
            p=difference.p,
            adjusted=p,
            verdict=_verdict(figure, difference.estimate.value, p),
        )
        for figure, difference, p in zip(shared, found, adjusted, strict=True)
    ]


def _verdict(figure: Figure, difference: float, adjusted: float) -> str:
    if not adjusted < LEVEL:  # written so that nan is nothing shown
        return "not shown"
    if not figure.better:
        return "different"
    return "better" if (difference > 0) == (figure.better == HIGHER) else "worse"


HEADER = ("figure", "ours", "theirs", "difference", "95 % interval", "p", "p (Holm)", "ours is")


def comparison_cells(comparison: Comparison) -> tuple[str, ...]:
    style, difference = comparison.figure.style, comparison.difference
    return (
        comparison.figure.name,
        printed(comparison.ours, style),
        printed(comparison.theirs, style),
        _signed(difference.value, style),
        f"{_signed(difference.low, style)} to {_signed(difference.high, style)}",
        _p(comparison.p),
        _p(comparison.adjusted),
        comparison.verdict,
    )


def comparison_table(comparisons: Sequence[Comparison]) -> str:
    """Return the comparisons as a Markdown table."""
    lines = ["| " + " | ".join(HEADER) + " |", "|" + "---|" * len(HEADER)]
    return "\n".join([*lines, *("| " + " | ".join(comparison_cells(each)) + " |" for each in comparisons)])


def comparison_rows(comparisons: Sequence[Comparison]) -> dict[str, dict[str, Any]]:
    return {
        each.figure.name: {
            "ours": finite(each.ours),
            "theirs": finite(each.theirs),
            "difference": finite(each.difference.value),
            "low": finite(each.difference.low),
            "high": finite(each.difference.high),
            "p": finite(each.p),
            "p_holm": finite(each.adjusted),
            "verdict": each.verdict,
        }
        for each in comparisons
    }


def _signed(number: float, style: str) -> str:
    text = printed(number, style)
    return f"+{text}" if number > 0 and text[0] != "–" else text


def _p(number: float) -> str:
    if number != number:
        return "–"
    return f"{number:.4f}" if number >= 0.0001 else "< 0.0001"
