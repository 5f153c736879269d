"""What diversity costs in accuracy: draw at every combination of settings, and choose the defaults from the plot.

Accuracy is the CIDEr-D of the tweets against the photo's references. Diversity is their distinct-2 over all photos: the
texts of one photo differ at every setting, since the writer lets the tones take turns and drops near-copies
(Self-CIDEr, shown beside it, is near its top), but the same idioms for photo after photo are what tires a reader. A
setting on the frontier can't be beaten in one without losing in the other. The best balance is the highest harmonic
mean of the two, each divided by its highest value in the sweep. The present default stays unless a setting's balance is
better by the paired test, adjusted for the number of settings: luck must not move a default.
"""

import csv
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from tweetcap.evaluate.contact_sheet import font_families
from tweetcap.evaluate.diversity import distinct, self_bleu, self_cider
from tweetcap.evaluate.figures import interval, printed
from tweetcap.evaluate.grounding import animal_counts
from tweetcap.evaluate.measures import (
    Difference,
    Estimate,
    Measure,
    Quantile,
    differences,
    divide,
    estimates,
    holm,
    mean_of_texts,
    ratio,
)
from tweetcap.evaluate.photos import EvaluationPhoto, read_corpus
from tweetcap.evaluate.predictions import Prediction, draw_predictions, match, read_predictions
from tweetcap.evaluate.reference import cider_scores
from tweetcap.write.settings import DEFAULTS
from tweetcap.write.writer import TweetWriter

LEVEL = 0.05
NAMES = ("temperature", "guidance", "top_p")
ACCURACY, DIVERSITY = "CIDEr-D", "distinct-2"
STYLES = {
    "CIDEr-D": "fine",
    "distinct-2": "fine",
    "Self-CIDEr": "fine",
    "self-BLEU": "number",
    "names an animal": "percent",
    "names a wrong animal": "percent",
    "different tweets": "percent",
    "ms a photo": "count",
}

Setting = tuple[float, float, float]  # temperature, guidance, top_p


@dataclass(frozen=True)
class Tried:
    """One setting and what it gave.

    Attributes:
        measures: figure → measure over the photos.
        estimates: figure → its value and interval.
    """

    setting: Setting
    measures: dict[str, Measure]
    estimates: dict[str, Estimate]

    @property
    def point(self) -> tuple[float, float]:
        """Diversity and accuracy."""
        return self.estimates[DIVERSITY].value, self.estimates[ACCURACY].value


def sweep(
    corpus: str | Path,
    output: str | Path,
    grid: dict[str, Sequence[float]],
    *,
    model: str | None = None,
    split: str = "validation",
    photos: int = 40,
    count: int = DEFAULTS.count,
    seed: int = 0,
    say: Callable[[str], None] = tqdm.write,
) -> str:
    """Return the table and the choice, in Markdown; write sweep.csv, sweep.md and sweep.png.

    Args:
        output: folder for these and for settings/*.jsonl, the predictions of each setting; what is drawn already is
            not drawn again.
        grid: values of temperature, guidance and top_p.
        photos: take the split's first so many.

    Raises:
        ValueError: in one sentence, what is wrong with the input.
    """
    font_families()  # raises now where fonts are missing, not after all the work
    photo_set = read_corpus(corpus, split)
    chosen = list(photo_set[:photos])
    if not any(photo.tweets for photo in chosen):
        raise ValueError(f"the photos of {corpus} have no reference tweets to measure against; give another corpus.")
    writer = TweetWriter.from_pretrained(model)
    folder = Path(output) / "settings"
    folder.mkdir(parents=True, exist_ok=True)
    settings: list[Setting] = list(itertools.product(*(grid[name] for name in NAMES)))
    files = {setting: folder / f"{_label(setting).replace(', ', '_').replace(' ', '')}.jsonl" for setting in settings}
    for number, setting in enumerate(tqdm(settings, desc="settings", unit="setting", disable=None), 1):
        parameters = {"count": count, **dict(zip(NAMES, setting, strict=True)), "max_length": DEFAULTS.max_length}
        parameters["seed"] = seed
        draw_predictions(
            writer, photo_set, chosen, files[setting], model=model, parameters=parameters, describe=False, say=say
        )
        say(f"{number} of {len(settings)}: {_label(setting)} drawn.")
    return report(Path(output), {setting: read_predictions(file)[0] for setting, file in files.items()}, chosen, seed)


def report(
    output: Path, drawn: dict[Setting, Sequence[Prediction]], chosen: Sequence[EvaluationPhoto], seed: int = 0
) -> str:
    """Measure what was drawn, write the files, and return the table and the choice.

    Raises:
        ValueError: no photo has tweets at every setting, or no tweet shares a word with its references.
    """
    by_photo = {setting: _by_photo(predictions, chosen) for setting, predictions in drawn.items()}
    common = [photo for photo in chosen if all(photo.photo_id in own for own in by_photo.values())]
    if not common:
        raise ValueError("no photo could be read at every setting; look at the photos named above.")
    tried = [
        measure_setting(setting, common, [own[photo.photo_id] for photo in common], seed)
        for setting, own in by_photo.items()
    ]
    if not any(each.estimates[ACCURACY].value > 0 for each in tried):
        raise ValueError(
            f"{ACCURACY} is 0 at every setting on {len(common)} photos, so there is nothing to weigh; take more photos."
        )
    front, balances = frontier([each.point for each in tried]), balance_of(tried)
    chosen_place, why = choose(tried, balances, seed)
    text = _markdown(tried, front, balances, chosen_place, why, len(common))
    (output / "sweep.md").write_text(text + "\n", encoding="utf-8")
    _save_csv(output / "sweep.csv", tried, front, balances)
    _save_plot(output / "sweep.png", tried, front, chosen_place)
    return text


def _by_photo(predictions: Sequence[Prediction], chosen: Sequence[EvaluationPhoto]) -> dict[str, Prediction]:
    photo_of = match(predictions, chosen)
    return {photo_of[p.photo_id].photo_id: p for p in predictions if p.photo_id in photo_of}


def measure_setting(
    setting: Setting, photos: Sequence[EvaluationPhoto], predictions: Sequence[Prediction], seed: int = 0
) -> Tried:
    tweets = [prediction.texts for prediction in predictions]
    references = [[tweet.text for tweet in photo.tweets] for photo in photos]
    animals = animal_counts(tweets, [photo.species for photo in photos])
    most = max(map(len, tweets))
    seconds = np.array([np.nan if p.seconds is None else p.seconds for p in predictions], float)
    measures = {
        "CIDEr-D": mean_of_texts(cider_scores(tweets, references)),
        "Self-CIDEr": self_cider(tweets, references),
        "self-BLEU": self_bleu(tweets),
        "distinct-2": distinct(tweets, 2),
        "names an animal": animals.named(),
        "names a wrong animal": animals.share_of(animals.wrong),
        "different tweets": ratio([float(len(set(own)) == most) for own in tweets], np.ones(len(tweets))),
        "ms a photo": Quantile(1000 * seconds, 0.5),
    }
    return Tried(setting, measures, dict(zip(measures, estimates(list(measures.values()), seed), strict=True)))


def frontier(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Say of each point whether no other is at least as high in both and higher in one."""
    return [not any(x <= a and y <= b and (x, y) != (a, b) for a, b in points) for x, y in points]


@dataclass(frozen=True)
class Balance:
    """The harmonic mean of accuracy and diversity, each ÷ its highest value in the sweep."""

    accuracy: Measure
    diversity: Measure
    best: tuple[float, float]  # accuracy, diversity
    interval = "jackknife"  # as of the diversity

    def __len__(self) -> int:
        return len(self.accuracy)

    def values(self, weights: np.ndarray) -> np.ndarray:
        accuracy = divide(self.accuracy.values(weights), np.full(len(weights), self.best[0]))
        diversity = divide(self.diversity.values(weights), np.full(len(weights), self.best[1]))
        return divide(2 * accuracy * diversity, accuracy + diversity)

    def beside(self, other: "Balance") -> "Balance":
        return Balance(self.accuracy.beside(other.accuracy), self.diversity.beside(other.diversity), self.best)


def balance_of(tried: Sequence[Tried]) -> list[Balance]:
    best = tuple(float(np.nanmax([each.estimates[name].value for each in tried])) for name in (ACCURACY, DIVERSITY))
    return [Balance(each.measures[ACCURACY], each.measures[DIVERSITY], best) for each in tried]


def choose(tried: Sequence[Tried], balances: Sequence[Balance], seed: int = 0) -> tuple[int, str]:
    """Return the place of the setting to make the default, and a sentence that says why."""
    figures = [estimate.value for estimate in estimates(balances, seed)]
    best = int(np.nanargmax(figures))
    default = (DEFAULTS.temperature, DEFAULTS.guidance, DEFAULTS.top_p)
    settings = [each.setting for each in tried]
    if default not in settings:
        return best, f"{_label(settings[best])} has the best balance; the present default was not among the settings."
    present = settings.index(default)
    others = [place for place in range(len(tried)) if place != present]
    found: list[Difference] = differences([(balances[place], balances[present]) for place in others], seed)
    adjusted = dict(zip(others, holm([difference.p for difference in found]), strict=True))
    better = [place for place in others if adjusted[place] < LEVEL and figures[place] > figures[present]]
    if better:
        winner = max(better, key=lambda place: figures[place])
        return winner, (
            f"{_label(settings[winner])} has a better balance than the present default ({figures[winner]:.3f} against "
            f"{figures[present]:.3f}, p {adjusted[winner]:.4f} after Holm over {len(others)} settings): take it."
        )
    if best == present:
        return present, f"The present default, {_label(default)}, has the best balance ({figures[present]:.3f})."
    return present, (
        f"The present default, {_label(default)}, stays: {_label(settings[best])} has the best balance "
        f"({figures[best]:.3f} against {figures[present]:.3f}), but not beyond chance (p {adjusted[best]:.2f} after "
        f"Holm over {len(others)} settings)."
    )


def _label(setting: Setting) -> str:
    return ", ".join(f"{name} {number:g}" for name, number in zip(NAMES, setting, strict=True))


def _markdown(tried, front, balances, chosen: int, why: str, photos: int) -> str:
    lines = [
        f"| {' | '.join(NAMES)} | {' | '.join(STYLES)} | balance | frontier |",
        "|" + "---|" * (len(NAMES) + len(STYLES) + 2),
    ]
    for place, (each, on_front, balance) in enumerate(zip(tried, front, estimates(balances), strict=True)):
        cells = [f"{number:g}" for number in each.setting]
        cells += [printed(each.estimates[name].value, style) for name, style in STYLES.items()]
        for name in (ACCURACY, DIVERSITY):
            cells[len(NAMES) + list(STYLES).index(name)] += f" ({interval(each.estimates[name], STYLES[name])})"
        cells += [f"{balance.value:.3f}", "yes" if on_front else ""]
        cells = [f"**{cell}**" if place == chosen and cell else cell for cell in cells]
        lines.append("| " + " | ".join(cells) + " |")
    return f"{photos} photos; 95 % intervals in brackets.\n\n" + "\n".join(lines) + f"\n\n{why}"


def _save_csv(path: Path, tried: Sequence[Tried], front: Sequence[bool], balances: Sequence[Balance]) -> None:
    numbers = [f"{name} {part}".strip() for name in STYLES for part in ("", "low", "high")]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*NAMES, *numbers, "balance", "balance low", "balance high", "frontier"])
        for each, on_front, balance in zip(tried, front, estimates(balances), strict=True):
            row = [getattr(each.estimates[name], part) for name in STYLES for part in ("value", "low", "high")]
            row += [balance.value, balance.low, balance.high]
            writer.writerow([*each.setting, *("" if np.isnan(number) else f"{number:.6g}" for number in row), on_front])


def _save_plot(path: Path, tried: Sequence[Tried], front: Sequence[bool], chosen: int) -> None:
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    temperatures = sorted({each.setting[0] for each in tried})
    guidances = sorted({each.setting[1] for each in tried})
    top_ps = sorted({each.setting[2] for each in tried})
    colours = dict(
        zip(temperatures, matplotlib.colormaps["plasma"](np.linspace(0.05, 0.8, len(temperatures))), strict=True)
    )
    marks = dict(zip(guidances, itertools.cycle("ovsD^P*X"), strict=False))
    with matplotlib.rc_context({"font.family": font_families()}):
        figure = Figure(figsize=(8.5, 5.6), dpi=120, layout="constrained")
        axes = figure.add_subplot()
        for each in tried:
            temperature, guidance, top_p = each.setting
            x, y = (each.estimates[name] for name in (DIVERSITY, ACCURACY))
            axes.errorbar(
                x.value,
                y.value,
                xerr=[[max(x.value - x.low, 0)], [max(x.high - x.value, 0)]],
                yerr=[[max(y.value - y.low, 0)], [max(y.high - y.value, 0)]],
                color=colours[temperature],
                marker=marks[guidance],
                markersize=5 + 4 * top_ps.index(top_p),
                elinewidth=0.4,
                alpha=0.85,
            )
        line = sorted(each.point for each, on_front in zip(tried, front, strict=True) if on_front)
        axes.plot(*zip(*line, strict=True), color="#444", linewidth=1.2, zorder=0)
        axes.plot(*tried[chosen].point, "o", markersize=20, markerfacecolor="none", markeredgecolor="#06701d")
        handles = [axes.plot([], [], "o", color=colours[t], label=f"temperature {t:g}")[0] for t in temperatures]
        handles += [axes.plot([], [], marks[g], color="#777", label=f"guidance {g:g}")[0] for g in guidances]
        handles += [
            axes.plot([], [], "o", color="#777", markersize=5 + 4 * place, label=f"top-p {top_p:g}")[0]
            for place, top_p in enumerate(top_ps)
        ]
        handles.append(axes.plot([], [], color="#444", label="frontier")[0])
        handles.append(
            axes.plot([], [], "o", markersize=12, markerfacecolor="none", markeredgecolor="#06701d", label="chosen")[0]
        )
        axes.legend(handles=handles, fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
        axes.set_xlabel("diversity: distinct-2 of all tweets")
        axes.set_ylabel("accuracy: CIDEr-D against the references")
        axes.spines[["top", "right"]].set_visible(False)
        FigureCanvasAgg(figure).print_png(path)
