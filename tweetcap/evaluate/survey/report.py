"""The results of a questionnaire: one HTML file with pictures, its tables as CSV, and a summary for the terminal.

    print(write_report(Path("study"), Path("study/report")))

The figures come from `statistics`, `preferences` and `screening`. Nothing in the page is loaded from
elsewhere: plots and photos are part of it. They are the study's photos, so it belongs outside of a repository.
"""

import base64
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import pandas as pd

from tweetcap.data.photo import PhotoError
from tweetcap.evaluate.report import thumbnail
from tweetcap.evaluate.survey.plots import (
    plot_differences,
    plot_distributions,
    plot_means,
    plot_strengths,
    plot_win_rates,
)
from tweetcap.evaluate.survey.preferences import (
    choice_agreement,
    comparisons,
    overall_win_rates,
    side_bias,
    strengths,
    win_rates,
)
from tweetcap.evaluate.survey.ratings import export_raters, export_ratings
from tweetcap.evaluate.survey.screening import RULES_FILE, Rules, read_rules, screen
from tweetcap.evaluate.survey.statistics import (
    LEVEL,
    power_table,
    rating_agreement,
    score_distribution,
    system_differences,
    system_means,
    variance_components,
)
from tweetcap.evaluate.survey.study import PHOTOS_FOLDER, Study, read_study, read_systems
from tweetcap.evaluate.survey.tables import escape, html_table, markdown_table, plain, printed

REPORT_FILE = "report.html"
EXAMPLES = 3  # best texts of each system, and as many worst ones
UNSAID = ("answers", "raters", "items", "deviation")  # columns that only the page shows

STYLE = """
body { font: 15px/1.55 system-ui, "Hiragino Sans", "Noto Sans JP", sans-serif; color: #222; background: #fff;
  max-width: 1160px; margin: 0 auto; padding: 1.5rem; }
h1 { font-size: 1.5rem; } h2 { margin-top: 2.5rem; border-bottom: 1px solid #ddd; }
.wide { overflow-x: auto; } table { border-collapse: collapse; } th, td { padding: .25rem .6rem; text-align: left; }
th { background: #f3f3f3; vertical-align: bottom; }
td { border-top: 1px solid #eee; max-width: 16rem; overflow-wrap: break-word; }
th.number { text-align: right; } td.number { text-align: right; white-space: nowrap; }
.wide { margin: 1rem 0; } img { max-width: 100%; height: auto; }
.quiet { color: #666; font-size: .87em; }
.examples { display: grid; grid-template-columns: repeat(auto-fill, minmax(240px, 1fr)); gap: 1rem; }
.example { border: 1px solid #ddd; border-radius: 6px; padding: .8rem; overflow-wrap: anywhere; }
.example p { margin: .3rem 0; } p.text { white-space: pre-line; }
"""


@dataclass(frozen=True)
class Survey:
    """All that a study holds once people have answered.

    Attributes:
        folder: the study's.
        names: the systems' names by their letters.
        answers: as `tweetcap.evaluate.survey.ratings.export_ratings` returns them, checks included.
        raters: everybody who started.
        screening: what each rater did, see `tweetcap.evaluate.survey.screening.screen`.
        kept: answers to items of the raters who broke no rule; of all, if nobody is left.
        notes: what a reader has to know, in sentences.
    """

    folder: Path
    study: Study
    names: dict[str, str]
    rules: Rules
    answers: pd.DataFrame
    raters: pd.DataFrame
    screening: pd.DataFrame
    kept: pd.DataFrame
    notes: list[str]

    @property
    def everybody(self) -> pd.DataFrame:
        return self.answers[self.answers["kind"] == "item"]

    @property
    def dropped(self) -> pd.DataFrame:
        return self.screening[~self.screening["kept"]]


@dataclass(frozen=True)
class Section:
    """A part of the report.

    Attributes:
        text: what the tables say and how they were worked out.
        tables: by the name of their CSV file.
        shown: what the page shows of a table instead of all of it, by the same names.
        plot: SVG.
        described: the plot in words, for those who don't see it.
    """

    title: str
    text: str
    tables: dict[str, pd.DataFrame]
    shown: dict[str, pd.DataFrame] = field(default_factory=dict)
    plot: str = ""
    described: str = ""


def write_report(study: Path, output: Path) -> str:
    """Write `report.html` and the tables as CSV into a folder.

    Args:
        study: the study's folder; the page may be served meanwhile.
        output: made if it doesn't exist; files of an earlier report are replaced.

    Returns:
        The summary in Markdown.

    Raises:
        ValueError: there is no study, or nothing to report yet.
    """
    survey = read_survey(Path(study))
    sections = rating_sections(survey) if survey.study.mode == "rating" else pairwise_sections(survey)
    texts = text_table(survey)
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    tables = dict(chain.from_iterable(section.tables.items() for section in sections))
    for name, table in (tables | {"texts": texts}).items():
        table.to_csv(output / f"{name}.csv", index=False, lineterminator="\n", errors="replace")
    page = render_page(survey, sections, texts, results(tables))
    (output / REPORT_FILE).write_text(page, encoding="utf-8", errors="replace")
    return summary(survey, tables, output / REPORT_FILE)


# --- What there is --------------------------------------------------------------------------------


def read_survey(folder: Path) -> Survey:
    """Read a study with its answers.

    Raises:
        ValueError: there is no study, or nobody has answered yet.
    """
    study, rules = read_study(folder), read_rules(folder)
    names = {letter: plain(name) for letter, name in read_systems(folder).items()}
    answers, raters = export_ratings(folder), export_raters(folder)
    systems = answers.columns.intersection(["system", "left", "right"])
    answers[systems] = answers[systems].map(plain, na_action="ignore")
    everybody = answers[answers["kind"] == "item"]
    if everybody.empty:
        raise ValueError(f"{folder} has no answers yet; let people rate on the page of tweetcap survey serve.")
    screening = screen(answers, rules, Counter(item.block for item in study.items))
    kept = everybody[everybody["rater"].isin(screening.loc[screening["kept"], "rater"])]
    notes = []
    if kept.empty:
        kept = everybody
        notes.append("Every rater breaks a rule, so the figures are those of all raters: don't rely on them.")
    if study.mode == "rating" and len(names) == 1:
        notes.append("The study has one system, so there is nothing to compare it with.")
    if kept["rater"].nunique() == 1:
        notes.append("One rater says nothing about others: there are no intervals and no tests.")
    if kept["item"].nunique() == 1:
        notes.append("One photo says nothing about others: there are no intervals and no tests.")
    silent = len(raters) - answers["rater"].nunique()
    if silent:
        notes.append(f"{silent} of {len(raters)} raters opened the page and answered nothing.")
    return Survey(folder, study, names, rules, answers, raters, screening, kept, notes)


# --- Rating mode ----------------------------------------------------------------------------------


def rating_sections(survey: Survey) -> list[Section]:
    means, differences = system_means(survey.kept), system_differences(survey.kept)
    titles = {question.name: question_title(survey, question.name) for question in survey.study.questions}
    distribution = score_distribution(survey.kept)
    sections = [
        Section(
            "Means",
            "The mean score of each system. The interval says between which values the mean of all raters and all "
            "photos of this kind lies, 95 times in 100: raters and photos are resampled together (pigeonhole "
            "bootstrap, studentised).",
            {"means": means},
            plot=plot_means(means, titles),
            described="Mean scores with their intervals; the table has the figures.",
        ),
        Section(
            "Scores",
            "How often each score from 1 to 5 was given.",
            {"distributions": distribution},
            shown={"distributions": distribution.head(0)},
            plot=plot_distributions(distribution, titles),
            described="Shares of the scores from 1 to 5 for each question and system; distributions.csv has them.",
        ),
    ]
    if len(differences):
        sections.append(
            Section(
                "Differences",
                "By how many points the first system is better than the second. The result to quote is difference, "
                "its interval, and p (Holm), which allows for the number of comparisons: below 0.05 the difference is "
                "shown. Nobody saw a photo with two systems, so a linear model takes out how strict each rater and "
                "how easy each photo is; what is left may differ by rater and by text, and both count as chance "
                "(standard errors clustered both ways, Student's t). With missing answers the difference is not quite "
                "that of the means above. Wilcoxon's signed-rank tests are given for comparison with other studies; "
                "the one over photos takes these raters for all there are, the one over raters these photos, and so "
                "each finds differences too easily.",
                {"differences": differences},
                plot=plot_differences(differences, titles),
                described="Differences with their intervals; the table has the figures.",
            )
        )
    sections += [agreement_section(rating_agreement(survey.kept)), raters_section(survey)]
    everybody = {"means_all_raters": system_means(survey.everybody) if len(survey.dropped) else means}
    if len(differences):
        of_all = system_differences(survey.everybody) if len(survey.dropped) else differences
        everybody["differences_all_raters"] = of_all
    sections.append(everybody_section(survey, everybody))
    if survey.kept["rater"].nunique() > 1 and survey.kept["item"].nunique() > 1:
        sections.append(next_study_section(survey))
    return sections


def next_study_section(survey: Survey) -> Section:
    """Say how many raters another study like this one needs."""
    components = variance_components(survey.kept)
    spread = pd.DataFrame([{"question": name, **vars(parts)} for name, parts in components.items()])
    systems, photos = max(2, len(survey.names)), len(survey.study.items)
    each = max(Counter(item.block for item in survey.study.items).values())
    plan = {"systems": systems, "items": [max(2, photos * times) for times in (1, 2, 4)], "items_per_rater": each}
    tables = [power_table(parts, **plan).assign(question=name) for name, parts in components.items()]
    power = pd.concat(tables)[["question", "difference", "items", "items_per_rater", "raters"]]
    wide = power.pivot(index=["question", "difference"], columns="items", values="raters")
    wide = wide.reindex(list(components), level="question").rename(columns="on {} photos".format)
    return Section(
        "The next study",
        "Where the scores' spread comes from (standard deviations in points), and how many raters the next study needs "
        f"to show a difference of so many points in 80 of 100 cases, at p < {LEVEL} before Holm's adjustment, each "
        f"rater doing {plan['items_per_rater']} photos. A dash: no number of raters is enough on so few photos, since "
        "texts differ more than that. From a small study these are rough guesses.",
        {"components": spread, "power": power},
        shown={"power": wide.reset_index().rename(columns={"difference": "points"})},
    )


# --- Pairwise mode --------------------------------------------------------------------------------


def pairwise_sections(survey: Survey) -> list[Section]:
    rates, scale = win_rates(survey.kept), strengths(survey.kept)
    question = survey.study.questions[0].name
    title = question_title(survey, question)
    sections = [
        Section(
            "Win rates",
            "How often the first system was chosen over the second, a tie counting half. The interval is over raters "
            "and photos; p is for the hypothesis that both are chosen equally often, and below 0.05 after Holm's "
            "adjustment the difference is shown.",
            {"win_rates": rates},
            plot=plot_win_rates(rates, title),
            described="Shares of wins, ties and losses of each two systems; the table has the figures.",
        ),
        Section(
            "Overall",
            "How often a system was chosen over whatever stood beside it, with an interval by resampling raters and "
            "photos together (pigeonhole bootstrap, studentised).",
            {"overall_win_rates": overall_win_rates(survey.kept)},
        ),
    ]
    if scale["strength"].notna().any():
        sections.append(
            Section(
                "Strengths",
                "All pairs on one scale: the Bradley-Terry model with Davidson's ties, by maximum likelihood. "
                "Strengths are natural logarithms, their mean is 0; against average is the chance to win, ties aside, "
                "against a system of strength 0.",
                {"strengths": scale},
                plot=plot_strengths(scale, title),
                described="Strengths with their intervals; the table has the figures.",
            )
        )
    else:
        sections.append(
            Section(
                "Strengths",
                "No strengths fit: a system won, or lost, every comparison with the others, or nothing was chosen but "
                "ties.",
                {"strengths": scale},
            )
        )
    sections.append(
        Section(
            "Sides",
            "How often the text on the left was chosen. Sides are balanced, so that a liking for one blurs the win "
            "rates and doesn't shift them.",
            {"sides": side_bias(survey.kept)},
        )
    )
    sections += [agreement_section(choice_agreement(survey.kept, question)), raters_section(survey)]
    of_all = win_rates(survey.everybody) if len(survey.dropped) else rates
    sections.append(everybody_section(survey, {"win_rates_all_raters": of_all}))
    return sections


# --- Both modes -----------------------------------------------------------------------------------


def agreement_section(table: pd.DataFrame) -> Section:
    return Section(
        "Agreement",
        "Krippendorff's alpha for ordered answers: 1 if all raters answer alike, 0 if they agree no more than by "
        "chance. Tastes differ, so a low alpha on what is funny is no fault of the study; it tells that many raters "
        "are needed. The interval is over raters and photos.",
        {"agreement": table},
    )


def everybody_section(survey: Survey, tables: dict[str, pd.DataFrame]) -> Section:
    if survey.dropped.empty:
        nothing = {name: table.head(0) for name, table in tables.items()}
        return Section("With everybody", "Nobody was left out: these are the tables above.", tables, shown=nothing)
    text = "The same with the raters who were left out. Where it says something else, the result hangs on the rules."
    return Section("With everybody", text, tables)


def raters_section(survey: Survey) -> Section:
    thresholds = ", ".join(
        f"{name} {'off' if value is None else f'{value:.2g}'}" for name, value in vars(survey.rules).items()
    )
    source = f"as in {RULES_FILE}" if (survey.folder / RULES_FILE).exists() else "the default ones"
    reasons = Counter(chain.from_iterable(reasons.split(", ") for reasons in survey.dropped["reasons"]))
    why = "; ".join(f"{reason}: {count}" for reason, count in reasons.most_common())
    return Section(
        "Raters",
        f"Left out: {len(survey.dropped)} of {len(survey.screening)}{f' ({why})' if why else ''}. The rules "
        f"are {source}: {thresholds}. Each is a share: of attention checks and gold items answered right, of the "
        "median rater's seconds per task, of answers that are all the same (more is out), of the rater's own items "
        "that were answered.",
        {"raters": survey.screening},
        shown={"raters": survey.dropped},
    )


def text_table(survey: Survey) -> pd.DataFrame:
    """Return a row for each text: item, system, text, raters, what each question got on average, and mean.

    Best first. In the pairwise mode the mean is the share of its comparisons that the text won, ties being half.
    """
    if survey.study.mode == "rating":
        answers = survey.kept
        scores = answers.pivot_table(index=["item", "system"], columns="question", values="score", aggfunc="mean")
        scores = scores.reindex(columns=answers["question"].unique()).assign(mean=scores.mean(axis=1))
    else:
        table = comparisons(survey.kept)
        turned = table.assign(system=table["other"], points=1 - table["points"])
        answers = pd.concat([table, turned])
        scores = answers.groupby(["item", "system"])["points"].mean().to_frame("mean")
    scores.insert(0, "raters", answers.groupby(["item", "system"])["rater"].nunique())
    texts = {
        (item.item, survey.names[letter]): text for item in survey.study.items for letter, text in item.texts.items()
    }
    scores.insert(0, "text", [texts[key] for key in scores.index])
    return scores.reset_index().sort_values(["mean", "item", "system"], ascending=[False, True, True])


def question_title(survey: Survey, name: str) -> str:
    question = next(question for question in survey.study.questions if question.name == name)
    return plain(f"{name}: {question.en['text']} {question.ja['text']}")


# --- The page -------------------------------------------------------------------------------------


def render_page(survey: Survey, sections: Sequence[Section], texts: pd.DataFrame, found: Sequence[str]) -> str:
    title = survey.study.title["en"]
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    notes = "".join(f"<p>{escape(note)}</p>" for note in survey.notes)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>"
        f'<h1>{escape(title)}</h1><p lang="ja">{escape(survey.study.title["ja"])}</p><p>{escape(counts(survey))}</p>'
        f"{notes}{_questions(survey)}{_list(found)}{''.join(map(_section, sections))}{_examples(survey, texts)}"
        "</body></html>\n"
    )


def counts(survey: Survey) -> str:
    """Return in a few words who answered what, and when."""
    finished = survey.raters["finished_at"].notna().sum()
    languages = ", ".join(f"{name} {count}" for name, count in survey.raters["language"].value_counts().items())
    first, last = (
        f"{time:%Y-%m-%d}" for time in (survey.answers["answered_at"].min(), survey.answers["answered_at"].max())
    )
    seconds = survey.screening["seconds"].median()
    return (
        f"{survey.study.mode.capitalize()} mode; {', '.join(sorted(survey.names.values()))}. "
        f"Raters: {len(survey.raters)} started ({languages}), {finished} finished, {survey.kept['rater'].nunique()} "
        f"count. {len(survey.kept)} answers; photos: {survey.kept['item'].nunique()}; {first} to {last}, "
        f"{seconds:.0f} s a photo."
    )


def _list(sentences: Sequence[str]) -> str:
    """Return the first sentence as a paragraph and the others as a list below it."""
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences[1:])
    return "".join(f"<p><b>{escape(sentence)}</b></p>" for sentence in sentences[:1]) + f"<ul>{items}</ul>"


def _questions(survey: Survey) -> str:
    rows = []
    for question in survey.study.questions:
        spoken = [
            f'<span lang="{language}">{escape(words["text"])}{_ends(words)}</span>'
            for language, words in (("en", question.en), ("ja", question.ja))
        ]
        rows.append(f"<li><b>{escape(question.name)}</b>: {' '.join(spoken)}</li>")
    return f"<ul>{''.join(rows)}</ul>"


def _ends(words: dict[str, str]) -> str:
    return f" (1 {escape(words['low'])}, 5 {escape(words['high'])})" if "low" in words else ""


def _section(section: Section) -> str:
    plot = ""
    if section.plot:
        data = base64.b64encode(section.plot.encode("utf-8")).decode("ascii")
        plot = f'<p><img alt="{escape(section.described)}" src="data:image/svg+xml;base64,{data}"></p>'
    files = ", ".join(f"{name}.csv" for name in section.tables)
    shown = [table for table in (section.tables | section.shown).values() if len(table)]
    tables = "".join(f'<div class="wide">{html_table(table)}</div>' for table in shown)
    return (
        f"<h2>{escape(section.title)}</h2><p>{escape(section.text)}</p>{plot}{tables}"
        f'<p class="quiet">{escape(files)}</p>'
    )


def _examples(survey: Survey, texts: pd.DataFrame) -> str:
    """Show each system's best and worst texts; those that hardly anybody judged are left out."""
    judged = texts[texts["raters"] >= texts["raters"].median() / 2]
    parts = []
    for system in sorted(survey.names.values()):
        own = judged[judged["system"] == system]
        count = min(EXAMPLES, (len(own) + 1) // 2)
        for which, rows in (("Best", own.head(count)), ("Worst", own.iloc[count:].tail(count).iloc[::-1])):
            shown = "".join(_example(survey, row) for _, row in rows.iterrows())
            if shown:
                parts.append(f'<h2>{which} of {escape(system)}</h2><div class="examples">{shown}</div>')
    return "".join(parts) + '<p class="quiet">texts.csv</p>'


def _example(survey: Survey, row: pd.Series) -> str:
    photo = next(item.photo for item in survey.study.items if item.item == row["item"])
    try:
        picture = f'<img alt="" src="data:image/jpeg;base64,{thumbnail(survey.folder / PHOTOS_FOLDER / photo)}">'
    except (PhotoError, OSError) as error:
        picture = f'<p class="quiet">{escape(error)}</p>'
    scores = row.drop(["item", "system", "text", "raters", "mean"])
    parts = "".join(f", {name} {printed(value, name)}" for name, value in scores.items())
    told = f"{row['item']}: {printed(row['mean'], 'mean')} (raters: {row['raters']}){parts}"
    text = f'<p class="text" lang="ja">{escape(row["text"])}</p>'
    return f'<div class="example">{picture}{text}<p class="quiet">{escape(told)}</p></div>'


# --- The summary ----------------------------------------------------------------------------------


def summary(survey: Survey, tables: dict[str, pd.DataFrame], report: Path) -> str:
    """Return the main tables in Markdown, what was shown, and where the report is."""
    rating = survey.study.mode == "rating"
    main = ("means", "differences") if rating else ("overall_win_rates", "win_rates")
    parts = [f"# {plain(survey.study.title['en'])}", counts(survey), *survey.notes]
    for name in main:
        if name in tables and len(tables[name]):
            left_out = [column for column in tables[name].columns if column.startswith("wilcoxon") or column in UNSAID]
            parts.append(markdown_table(tables[name].drop(columns=left_out)))
    first, *others = results(tables) or [""]
    parts.append("\n".join([first, *(f"- {sentence}" for sentence in others)]))
    parts.append(f"Raters left out: {len(survey.dropped)} of {len(survey.screening)}.")
    parts.append(f"Report: {plain(report)}")
    return "\n\n".join(filter(None, parts))


def results(tables: dict[str, pd.DataFrame]) -> list[str]:
    """Return how many differences are shown, and each of them, in sentences; nothing where nothing was compared."""
    compared, value, middle = tables.get("differences"), "difference", 0.0
    if compared is None:
        compared, value, middle = tables.get("win_rates"), "rate", 0.5
    tested = 0 if compared is None else int(compared["p_holm"].notna().sum())
    if not tested:
        return []
    sentences = []
    for _, row in compared[compared["p_holm"] < LEVEL].iterrows():
        better, worse = (row["system"], row["other"]) if row[value] > middle else (row["other"], row["system"])
        p = printed(row["p_holm"], "p")
        what = f"{row['question']}: " if "question" in row else ""
        sentences.append(f"{what}{better} is better than {worse} (p {p if '<' in p else f'= {p}'}).")
    head = f"Shown, p < {LEVEL} after Holm's adjustment: {len(sentences)} of {tested} differences."
    return [head, *sentences]
