"""Which raters' answers count: rules fixed before the study, and what each rater did by them.

The rules and their thresholds are data. Write them down before the first answer, as `rules.json` in the study's folder
({"attention": 0.5, "speed": 0.5}; what is not named keeps its default, null switches a rule off), so that nobody can
choose them by the result.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

RULES_FILE = "rules.json"
GOLD_TOLERANCE = 1  # points; a gold item's answer is known, but nobody's scale is
FEW_ANSWERS = 10  # so many can be the same by chance


@dataclass(frozen=True)
class Rules:
    """Thresholds; a rater on the wrong side of any is left out. None switches a rule off.

    Attributes:
        attention: least share of attention checks answered as told.
        gold: least share of gold items answered right, within one point in the rating mode.
        speed: least median of the seconds per task, as a share of the median rater's.
        same: greatest share of answers that are all the same: straight-lining, or always the same side.
        complete: least share of the rater's items that were answered.
    """

    attention: float | None = 0.5
    gold: float | None = 0.5
    speed: float | None = 1 / 3
    same: float | None = 0.95
    complete: float | None = 0.5

    def __post_init__(self):
        for name, value in asdict(self).items():
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if value is not None and not (number and 0 <= value <= 1):
                raise ValueError(f"the rule {name} is {value!r}; it must be a share from 0 to 1, or null for none.")


def read_rules(folder: str | Path) -> Rules:
    """Return the rules in a study's folder; the default ones where it has none.

    Raises:
        ValueError: the file holds something else.
    """
    path = Path(folder) / RULES_FILE
    names = ", ".join(asdict(Rules()))
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Rules()
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} can't be read ({' '.join(str(error).split())}); write rules as JSON.") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path} is not a JSON object; name rules of {names}.")
    unknown = sorted(values.keys() - asdict(Rules()).keys())
    if unknown:
        raise ValueError(f"{path} has the rule {unknown[0]}, which is unknown; choose from {names}.")
    try:
        return Rules(**values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def screen(answers: pd.DataFrame, rules: Rules, assigned: Mapping[int, int]) -> pd.DataFrame:
    """Return what each rater did, and by which rules the rater is left out.

    Args:
        answers: of either mode, checks included, as `tweetcap.evaluate.survey.ratings.export_ratings` returns them.
        assigned: how many items a rater of each block gets.

    Returns:
        A row a rater: rater, items, complete, attention, gold, seconds (the median), same, kept, reasons. A share is
        NaN where there was nothing to share.
    """
    value = "score" if "score" in answers else "choice"
    items = answers[answers["kind"] == "item"]
    raters = pd.Index(sorted(answers["rater"].unique()), name="rater")
    table = pd.DataFrame(index=raters)
    table["items"] = items.groupby("rater")["item"].nunique().reindex(raters, fill_value=0)
    blocks = answers.groupby("rater")["block"].first().reindex(raters)
    table["complete"] = table["items"] / blocks.map(assigned).astype(float)
    table["attention"] = _share_right(answers[answers["kind"] == "attention"], value, 0).reindex(raters)
    table["gold"] = _share_right(answers[answers["kind"] == "gold"], value, GOLD_TOLERANCE).reindex(raters)
    tasks = items.drop_duplicates(["rater", "position"])
    table["seconds"] = tasks.groupby("rater")["seconds"].median().reindex(raters)
    groups = items.groupby("rater")[value]
    table["same"] = groups.agg(lambda own: own.value_counts(normalize=True).max()).reindex(raters)
    table.loc[groups.size().reindex(raters, fill_value=0) < FEW_ANSWERS, "same"] = np.nan

    broken = _broken_rules(table, rules)
    table["kept"] = ~broken.any(axis=1)
    table["reasons"] = [", ".join(broken.columns[row]) for row in broken.to_numpy(dtype=bool)]
    return table.reset_index()


def _share_right(checks: pd.DataFrame, value: str, tolerance: float) -> pd.Series:
    """Return each rater's share of checks answered right, of those whose answer is known."""
    checks = checks.dropna(subset=["expected"])
    if value == "score":
        right = (checks["score"].astype(float) - checks["expected"].astype(float)).abs() <= tolerance
    else:
        right = checks["choice"] == checks["expected"]
    return right.groupby(checks["rater"]).mean().astype(float)


def _broken_rules(table: pd.DataFrame, rules: Rules) -> pd.DataFrame:
    """Return a column a rule, named by what the rater did wrong; what is NaN breaks nothing."""
    broken = pd.DataFrame(index=table.index)
    broken["failed the attention checks"] = _below(table["attention"], rules.attention)
    broken["failed the gold items"] = _below(table["gold"], rules.gold)
    least = None if rules.speed is None else rules.speed * table["seconds"].median()
    broken["too fast"] = _below(table["seconds"], least)
    most = np.inf if rules.same is None else rules.same
    broken["always the same answer"] = table["same"] > most
    broken["incomplete"] = _below(table["complete"], rules.complete)
    return broken


def _below(values: pd.Series, least: float | None) -> pd.Series:
    return values < (-np.inf if least is None else least)
