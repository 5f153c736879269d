"""A questionnaire's design: who is shown which text under which photo, in which order, and blind.

A study is a folder: `study.json` (this design), `systems.json` (which system hides behind which letter),
`photos/` (copies under random names, pixels only) and, once it is served, `ratings.sqlite3`. Of these only the
photos and one text at a time ever reach a rater.

`tweetcap.evaluate.survey.new_study` makes it.

The design is a Latin square. Photos are shuffled and dealt into blocks of as many as one rater does. A *cell* is a
block and a row of the square: it says which text each photo of the block has. Raters are dealt to cells in
`Study.cells`' order, so that after any number of raters each photo has had each system equally often, give or take
one, and so has the whole study. Nobody sees a photo with two systems.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import combinations
from math import gcd
from pathlib import Path

STUDY_FILE, SYSTEMS_FILE, PHOTOS_FOLDER = "study.json", "systems.json", "photos"
LANGUAGES = ("ja", "en")
MODES = ("rating", "pairwise")
SCORES = (1, 2, 3, 4, 5)
CHOICES = ("left", "tie", "right")


@dataclass(frozen=True)
class Question:
    """A question in both languages.

    Attributes:
        name: what it is called in the tables.
        ja, en: `text`, and for the rating mode what 1 (`low`) and 5 (`high`) mean.
    """

    name: str
    ja: dict[str, str]
    en: dict[str, str]


RATING_QUESTIONS = (
    Question(
        "natural",
        {"text": "日本語として自然ですか？", "low": "不自然", "high": "自然"},
        {"text": "Is the text natural Japanese?", "low": "not at all", "high": "very"},
    ),
    Question(
        "fits",
        {"text": "写真に合っていますか？", "low": "合っていない", "high": "合っている"},
        {"text": "Does the text fit the photo?", "low": "not at all", "high": "very well"},
    ),
    Question(
        "funny",
        {"text": "おもしろいですか？", "low": "おもしろくない", "high": "おもしろい"},
        {"text": "Is the text funny?", "low": "not at all", "high": "very"},
    ),
    Question(
        "like",
        {"text": "「いいね」を押したいですか？", "low": "押したくない", "high": "押したい"},
        {"text": "Would you LIKE this post?", "low": "surely not", "high": "surely"},
    ),
)
PAIRWISE_QUESTIONS = (
    Question("choice", {"text": "投稿するなら、どちらですか？"}, {"text": "Which one would you post?"}),
)
QUESTIONS = {"rating": RATING_QUESTIONS, "pairwise": PAIRWISE_QUESTIONS}

TITLE = {"ja": "写真とことばのアンケート", "en": "Photos and words: a questionnaire"}
CONSENT = {
    "ja": """動物の写真と、それに添えた短い文章をお見せします。思ったとおりに答えてください。正解はありません。

・参加は自由です。いつでもやめられ、あとで続きから答えることもできます。
・保存するのは、回答、回答の日時と所要時間、表示した言語だけです。名前、メールアドレス、IPアドレスは保存しません。
・続きから答えられるように、このブラウザに無作為な番号を置きます。
・回答は、個人を特定できない形で、統計やデータとして公開されることがあります。""",
    "en": """You will see photos of animals, each with a short text in Japanese. Say what you think; no answer is wrong.

• Taking part is voluntary. You can stop at any time, and go on later where you stopped.
• We keep your answers, when you gave them, how long they took, and the language shown. We keep no name, no e-mail \
address and no IP address.
• A random number is kept in this browser so that you can go on later.
• The answers may be published as statistics or data that do not identify you.""",
}


@dataclass(frozen=True)
class Template:
    """A known study's settings; options given beside it win.

    Attributes:
        systems: what the study compares; each has to be given.
        raters: how many took part.
    """

    mode: str
    systems: tuple[str, ...]
    raters: int


# Twitter Image Captioning (2021): STAIR-only, fine-tuned on tweets, and the tweets of people, judged by 35 raters.
TEMPLATES = {"2021": Template("rating", ("stair", "tweetcap", "human"), 35)}


@dataclass(frozen=True)
class Item:
    """A photo and the texts that may stand under it.

    Attributes:
        item: the photo's id in the tables.
        photo: name of its copy in the study's photos.
        width, height: of the copy, in pixels.
        texts: by system letter; a gold item has `gold`, or `good` and `bad` in the pairwise mode.
        expected: of a gold item, the known answer by question.
        block: which raters see it.
    """

    item: str
    photo: str
    width: int
    height: int
    texts: dict[str, str]
    expected: dict[str, int] = field(default_factory=dict)
    block: int = 0


@dataclass(frozen=True)
class Task:
    """What one rater is asked at one position.

    Attributes:
        kind: item, gold or attention.
        item: id of the item; of an attention check, of the photo above the instruction.
        shown: keys of the texts shown, those of a pair left first; of an attention check, what to answer.
    """

    kind: str
    item: str
    shown: tuple[str, ...]


@dataclass(frozen=True)
class Study:
    """A questionnaire's design; `study.json` holds these fields.

    Attributes:
        study: random id; the browser keeps a rater's number under it.
        title, consent: by language.
        systems: letters; `systems.json` has the names.
        attention: what each attention check tells the rater to answer.
        minimum_seconds: an answer sooner than this is sent back.
        raters: how many are let in; None for any number.
        abandoned_after_hours: a rater silent for so long loses the place to the next.
    """

    study: str
    mode: str
    title: dict[str, str]
    consent: dict[str, str]
    questions: tuple[Question, ...]
    systems: tuple[str, ...]
    items: tuple[Item, ...]
    gold: tuple[Item, ...]
    attention: tuple[int | str, ...]
    minimum_seconds: float
    raters: int | None
    abandoned_after_hours: float
    seed: int

    def __post_init__(self):
        if self.mode not in MODES:
            raise ValueError(f"the mode is {self.mode}; choose {' or '.join(MODES)}.")
        if not self.items:
            raise ValueError("the study has no items.")

    @property
    def blocks(self) -> int:
        return self.items[-1].block + 1

    @property
    def treatments(self) -> list[tuple[str, ...]]:
        """What a photo can be shown with: a system, or two."""
        if self.mode == "rating":
            return [(system,) for system in self.systems]
        return list(combinations(self.systems, 2))

    def cells(self) -> list[tuple[int, int]]:
        """Return (block, row) in the order in which raters are dealt to them.

        Row r gives the photo number j of the whole study the treatment number j + r. The next row starts with the
        treatment after the last one dealt, as cards go round a table: that keeps the treatments' totals equal,
        give or take one, after any number of raters. Pairs come in twice as many rows, once each way round.
        """
        count = len(self.treatments)
        step = len(self.items) % count
        laps = gcd(step, count)  # gcd(0, count) is count
        rows = [(lap + turn * step) % count for lap in range(laps) for turn in range(count // laps)]
        if self.mode == "pairwise":
            rows += [row + count for row in rows]
        return [(block, row) for row in rows for block in range(self.blocks)]

    def tasks(self, block: int, row: int, rater: str) -> list[Task]:
        """Return what the rater does, in the rater's own order, with the checks strewn in."""
        rng = random.Random(f"{self.seed} {rater}")
        tasks = list(self._square(block, row))
        rng.shuffle(tasks)
        checks = [*self._attention_tasks(block, rng), *self._gold_tasks(rng)]
        rng.shuffle(checks)
        total = len(tasks) + len(checks)
        for number, check in enumerate(checks):
            # One check in each stretch of equal length, never as the very first task.
            start, end = number * total // len(checks), (number + 1) * total // len(checks)
            tasks.insert(rng.randrange(max(start, 1), max(end, 2)), check)
        return tasks

    def _square(self, block: int, row: int) -> Iterator[Task]:
        treatments = self.treatments
        swapped, row = divmod(row, len(treatments))
        for number, item in enumerate(self.items):
            if item.block != block:
                continue
            shown = treatments[(number + row) % len(treatments)]
            if self.mode == "pairwise":
                # Sides alternate from one photo of a pair to its next, and from pair to pair.
                group, place = divmod(number, len(treatments))
                shown = shown[::-1] if (group + place + swapped) % 2 else shown
            yield Task("item", item.item, shown)

    def _attention_tasks(self, block: int, rng: random.Random) -> Iterator[Task]:
        # The photos of other blocks are new to the rater.
        photos = [item.item for item in self.items if item.block != block] or [item.item for item in self.items]
        for expected in self.attention:
            yield Task("attention", rng.choice(photos), (str(expected),))

    def _gold_tasks(self, rng: random.Random) -> Iterator[Task]:
        for item in self.gold:
            shown = list(item.texts)
            rng.shuffle(shown)
            yield Task("gold", item.item, tuple(shown))

    def find_item(self, kind: str, name: str) -> Item:
        return self._items_by_name["gold" if kind == "gold" else "item", name]

    @cached_property
    def _items_by_name(self) -> dict[tuple[str, str], Item]:
        return {("item", item.item): item for item in self.items} | {("gold", item.item): item for item in self.gold}

    def expected(self, task: Task) -> dict[str, int | str]:
        """Return the known answer by question; empty for what has none."""
        if task.kind == "attention":
            answer = int(task.shown[0]) if self.mode == "rating" else task.shown[0]
            return {question.name: answer for question in self.questions}
        if task.kind == "gold" and self.mode == "pairwise":
            return {question.name: CHOICES[2 * task.shown.index("good")] for question in self.questions}
        return self.find_item(task.kind, task.item).expected

    def save(self, folder: Path) -> None:
        text = json.dumps(asdict(self), ensure_ascii=False, indent=1)
        (folder / STUDY_FILE).write_text(text + "\n", encoding="utf-8")


def read_study(folder: str | Path) -> Study:
    """Return the design of the study in a folder.

    Raises:
        ValueError: the folder holds no study, or one that was edited out of shape.
    """
    path = Path(folder) / STUDY_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        for name in ("items", "gold"):
            values[name] = tuple(Item(**item) for item in values[name])
        values["questions"] = tuple(Question(**question) for question in values["questions"])
        return Study(**values | {name: tuple(values[name]) for name in ("systems", "attention")})
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(f"{folder} holds no {STUDY_FILE}; make a study with tweetcap survey create.") from None
    except (ValueError, KeyError, TypeError) as error:
        what = " ".join(str(error).split())
        raise ValueError(f"{path} is not a study any more ({what}); undo the last edit of it.") from None


def read_systems(folder: str | Path) -> dict[str, str]:
    """Return the systems' names by their letters."""
    path = Path(folder) / SYSTEMS_FILE
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ValueError(f"{path} can't be read, and nothing else says which system is which; restore it.") from None


def is_score(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value in SCORES
