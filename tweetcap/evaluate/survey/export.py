"""Ratings as files for others: CSV and Parquet with a dataset card, in one folder that can go to the Hub."""

import json
from pathlib import Path

from tweetcap.evaluate.survey.ratings import export_raters, export_ratings
from tweetcap.evaluate.survey.study import Study, read_study, read_systems

CARD = "README.md"
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
CARD_TEXT = """\
---
pretty_name: {quoted}
license: cc-by-4.0
language: [ja]
task_categories: [other]
size_categories: ["{size}"]
configs:
  - config_name: ratings
    default: true
    data_files: [{{split: train, path: ratings.parquet}}]
  - config_name: raters
    data_files: [{{split: train, path: raters.parquet}}]
---

# {title}

Ratings of texts that stood under photos of animals, from a blind questionnaire: {systems}; {items} photos.

| table | column | meaning |
|---|---|---|
| both | `rater` | random id |
{columns}
| ratings | `seconds` | from the showing of a task to its answer, the same for all its questions |
| ratings | `position` | in the rater's own order, from 1; checks count |
| ratings | `kind` | `item`; or `gold` and `attention`: checks, whose answers belong to no system |
| ratings | `expected` | the known answer to a check, where there is one |
| ratings, raters | `block` | which part of the photos the rater did |
| ratings | `answered_at` | UTC |
| raters | `row` | of the Latin square |
| raters | `language` | of the questions: `ja` or `en` |
| raters | `started_at`, `finished_at` | UTC; the second is empty for raters who did not finish |

Each photo was shown with each system equally often, give or take one; a rater saw a photo once. Names, addresses and
IPs of raters were never stored. Photos and texts are not part of this dataset.
{questions}"""
RATING_COLUMNS = """\
| ratings | `item` | the photo's id |
| ratings | `system` | whose text it was |
| ratings | `question` | see below |
| ratings | `score` | 1 to 5 |"""
PAIRWISE_COLUMNS = """\
| ratings | `item` | the photo's id |
| ratings | `left`, `right` | whose texts stood first and second |
| ratings | `choice` | `left`, `right` or `tie` |"""


def export_study(folder: str | Path, output: str | Path) -> tuple[int, int]:
    """Write ratings and raters as CSV and Parquet, and a dataset card where there is none yet.

    Args:
        folder: the study's.
        output: made if it isn't there; tables of an earlier export are replaced.

    Returns:
        How many answers and raters there are.
    """
    study, output = read_study(folder), Path(output)
    tables = {"ratings": export_ratings(folder), "raters": export_raters(folder)}
    output.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        table.to_csv(output / f"{name}.csv", index=False)
        table.to_parquet(output / f"{name}.parquet", index=False)
    if not (output / CARD).exists():
        names = list(read_systems(folder).values())
        (output / CARD).write_text(card(study, names, len(tables["ratings"])), encoding="utf-8")
    return len(tables["ratings"]), len(tables["raters"])


def card(study: Study, systems: list[str], answers: int) -> str:
    rating = study.mode == "rating"
    questions = "".join(
        f"- `{question.name}`: {question.ja['text']} ({question.en['text']})\n" for question in study.questions
    )
    title = f"Ratings of {study.title['en']}"
    return CARD_TEXT.format(
        title=title,
        quoted=json.dumps(title, ensure_ascii=False),  # JSON's strings are YAML's too
        size=next((size for most, size in SIZES if answers < most), "1M<n<10M"),
        systems=", ".join(sorted(systems)),
        items=len(study.items),
        columns=RATING_COLUMNS if rating else PAIRWISE_COLUMNS,
        questions=f"\nThe questions, on a scale of 1 to 5:\n\n{questions}"
        if rating
        else f"\nThe question:\n\n{questions}",
    )
