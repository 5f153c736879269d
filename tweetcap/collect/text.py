"""What is left of a post to learn from: the sentence about the photo, or the reason why there is none.

A post loses its links, handles, trailing hashtags, thread numbers, footers and whatever its account says in every other
post; a hashtag that is a word of its sentence stays as that word. What is advertising, about something else or not
Japanese is dropped, each for one counted `Reason`. The phrases are data, in `phrases.yaml`; what may not be published
may not be learned either, so `tweetcap.write.filters` has the last word.
"""

import hashlib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import yaml

from tweetcap.model import normalise
from tweetcap.write.filters import EMOJI, SOUP, URL, fold, reason_to_drop


class Reason(StrEnum):
    """Why a post is dropped; the middle group and its phrases stand in `phrases.yaml`."""

    REPOST = "repost"  # begins with RT @
    REPLY = "reply"  # begins with a handle
    QUOTE = "quote"  # comments another post
    LINK = "link"  # points to a link: what it is about lies elsewhere
    MENTION = "mention"  # a handle is a word of the sentence

    GIVEAWAY = "giveaway"
    PROMOTION = "promotion"
    ANNOUNCEMENT = "announcement"
    SOLICITATION = "solicitation"
    MILESTONE = "milestone"
    BOT = "bot"
    MOURNING = "mourning"
    NEWS = "news"
    OTHER_PHOTO = "other_photo"

    NO_TEXT = "no_text"  # nothing was written, or nothing but links and tags
    BOILERPLATE = "boilerplate"  # nothing but what the account writes all the time
    NO_WORDS = "no_words"  # emoji and punctuation alone
    LANGUAGE = "language"
    TOO_SHORT = "too_short"
    TOO_LONG = "too_long"
    CONTACT = "contact"  # an address or a telephone number
    BLOCKED = "blocked"  # a word of the block list
    BROKEN = "broken"  # control characters, byte soup


@dataclass(frozen=True)
class TextSettings:
    """What a text must be, and when a phrase counts as an account's boilerplate.

    Attributes:
        any_language: keep texts that aren't Japanese.
        min_length: letters and digits.
        max_length: characters.
        boilerplate_posts: an account with fewer posts is left alone, since nothing can be said about it.
        boilerplate_share: from this share of an account's posts on, a phrase is boilerplate.
        short_boilerplate_share: the same for a phrase of fewer than 8 letters, which may recur by chance.
    """

    any_language: bool = False
    min_length: int = 2
    max_length: int = 140
    boilerplate_posts: int = 20
    boilerplate_share: float = 0.1
    short_boilerplate_share: float = 0.25


class PostText(NamedTuple):
    """What cleaning needs to know of a post."""

    post_id: str
    account: str
    text: str
    lang: str | None = None


@dataclass(frozen=True)
class Cleaned:
    """A post's text, or why it has none.

    Attributes:
        text: what to learn from; None where the post is dropped.
        reason: None where it is kept.
        removed: what was cut out: url, handle, hashtag, count, footer, boilerplate; "hashtag_word" for a tag that
            stayed as a word.
        boilerplate: digests of the account's phrases that were cut out.
    """

    text: str | None
    reason: Reason | None = None
    removed: tuple[str, ...] = ()
    boilerplate: tuple[str, ...] = ()


def clean_posts(posts: Sequence[PostText], settings: TextSettings = TextSettings()) -> dict[str, Cleaned]:
    """Clean the posts of any number of accounts, with each account's boilerplate found among its posts.

    Returns:
        post_id → outcome, in the order of the posts.
    """
    stripped = {post.post_id: strip_markup(post.text) for post in posts}
    by_account: defaultdict[str, list[str]] = defaultdict(list)
    for post in posts:
        if stripped[post.post_id].text is not None:
            by_account[post.account].append(stripped[post.post_id].text)
    boilerplate = {account: find_boilerplate(texts, settings) for account, texts in by_account.items()}
    return {
        post.post_id: _finish(stripped[post.post_id], post.lang, boilerplate.get(post.account, frozenset()), settings)
        for post in posts
    }


def clean_text(
    text: str,
    lang: str | None = None,
    boilerplate: AbstractSet[str] = frozenset(),
    settings: TextSettings = TextSettings(),
) -> Cleaned:
    """Clean one text.

    Args:
        text: as posted, entities and short links already unwound.
        lang: what X took it for; decides only where there is no kana, which Chinese has not either.
        boilerplate: digests of phrases to cut out, as `find_boilerplate` gives them.
    """
    return _finish(strip_markup(text), lang, boilerplate, settings)


def _finish(stripped: Cleaned, lang: str | None, boilerplate: AbstractSet[str], settings: TextSettings) -> Cleaned:
    if stripped.text is None:
        return stripped
    text, cut = remove_boilerplate(stripped.text, boilerplate)
    removed = (*stripped.removed, "boilerplate") if cut else stripped.removed
    reason = Reason.BOILERPLATE if cut and not fold(text) else _unfit(text, lang, settings)
    return Cleaned(None if reason else text, reason, removed, cut)


def _unfit(text: str, lang: str | None, settings: TextSettings) -> Reason | None:
    words = fold(text)
    if not text:
        return Reason.NO_TEXT
    if SOUP.search(text):
        return Reason.BROKEN
    if not words:
        return Reason.NO_WORDS
    if not settings.any_language and not is_japanese(text, lang):
        return Reason.LANGUAGE
    if len(words) < settings.min_length:
        return Reason.TOO_SHORT
    # Unbalanced brackets, which that function calls broken, are kaomoji in a text by people.
    why = reason_to_drop(text, max_length=settings.max_length)
    return {
        "too_long": Reason.TOO_LONG,
        "email": Reason.CONTACT,
        "phone": Reason.CONTACT,
        "url": Reason.LINK,
        "handle": Reason.MENTION,
        "blocked": Reason.BLOCKED,
    }.get(why)


# --- Language -----------------------------------------------------------------------------------

KANA = re.compile(r"[ぁ-ゖァ-ヺー]")
HAN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff々〆〇\U00020000-\U0003ffff]")
OTHER_WORD = re.compile(r"[^\W\d_ぁ-ゖァ-ヺー\u3400-\u9fff\uf900-\ufaff々〆〇\U00020000-\U0003ffff]+")


def is_japanese(text: str, lang: str | None = None) -> bool:
    """Return whether at least half of the text is Japanese: kana and kanji against words of other scripts.

    A foreign word counts as one, whatever its length, so that neither "iPhone" nor a long laugh in w weighs much.

    Args:
        lang: X's verdict. It errs often on short texts, so it decides only where kanji stand without kana.
    """
    kana, han, others = (len(pattern.findall(text)) for pattern in (KANA, HAN, OTHER_WORD))
    if not kana and lang is not None and lang not in ("ja", "und", "art", "zxx", "qme"):
        return False
    return kana + han > 0 and kana + han >= others


# --- Markup -------------------------------------------------------------------------------------

INVISIBLE = re.compile(r"[\u00ad\u200b\u200e\u200f\u2060-\u2064\u202a-\u202e\u2066-\u2069\ufeff]")
REPOST = re.compile(r"^\s*RT\s*[@＠]")
QUOTED_POST = re.compile(r"https?://(?:mobile\.)?(?:twitter|x)\.com/\w+/status(?:es)?/\d+", re.IGNORECASE)
# A t.co link that nobody unwound is most likely that of the post's own photo.
UNKNOWN_LINK = re.compile(r"https?://t\.co/", re.IGNORECASE)
POINTER = re.compile(
    r"(?:[→⇒➡▶►▷↓⬇👇▼:：]\ufe0f?|こちら|コチラ|ここから|から|まで|(?:詳|くわ)し(?:く|い情報)は?|詳細は?|チェック"
    r"|[はがをにとので])\s*$"
)
# What an animal says in a joke: 「ご予約のお名前は？」.
QUOTED = re.compile(r"「[^」]*」")
SHOUT = re.compile(r"(\D)\1{4,}")  # かわいいいいいい, but not 100000
# Nothing of such a length is a tweet about a photo, and some of these patterns take their time.
LONGEST_POST = 1000
# What one removal lays bare, the next pass takes: an arrow behind the last tag, a count before a link.
MOST_PASSES = 4


def strip_markup(text: str) -> Cleaned:
    """Return what stays of a text before its account's boilerplate is known, or the reason to drop it."""
    if len(text) > LONGEST_POST:
        return Cleaned(None, Reason.TOO_LONG)
    removed: list[str] = []
    for _ in range(MOST_PASSES):
        stripped = _strip_once(text, removed)
        if isinstance(stripped, Reason):
            return Cleaned(None, stripped)
        if stripped == text:
            break
        text = stripped
    return Cleaned(text, None, tuple(dict.fromkeys(removed)))


def _strip_once(text: str, removed: list[str]) -> str | Reason:
    text = _unescape(INVISIBLE.sub("", normalise(text)))
    if REPOST.search(text):
        return Reason.REPOST
    if HANDLE.match(text.lstrip(" .")):
        return Reason.REPLY
    if QUOTED_POST.search(text):
        return Reason.QUOTE
    lines = _remove_footers([line.strip() for line in text.split("\n")], removed)
    reason = _phrase_reason("\n".join(lines))
    if reason:
        return reason
    if _points_to_link(lines):
        return Reason.LINK
    lines = _remove_links(lines, removed)
    if not _remove_handles(lines, removed):
        return Reason.MENTION
    lines = _resolve_hashtags(lines, removed)
    return _tidy(_remove_counts(lines, removed))


def _unescape(text: str) -> str:
    """Decode what X escapes; an archive or an old collection may have kept it."""
    for entity, character in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&#39;", "'"), ("&amp;", "&")):
        text = text.replace(entity, character)
    return text


def _phrase_reason(text: str) -> Reason | None:
    plain = QUOTED.sub("「」", unicodedata.normalize("NFKC", text))
    return next((reason for reason, phrases in _phrases()[0].items() if phrases.search(plain)), None)


@lru_cache(maxsize=1)
def _phrases() -> tuple[dict[Reason, re.Pattern], re.Pattern]:
    """Return the phrases of each reason to drop a post, and the pattern of lines to remove."""
    data = yaml.safe_load(Path(__file__).with_name("phrases.yaml").read_text(encoding="utf-8"))
    drop = {Reason(reason): _any_of(patterns) for reason, patterns in data["drop"].items()}
    return drop, _any_of(data["footer"])


def _any_of(patterns: list[str]) -> re.Pattern:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns), re.IGNORECASE)


# --- Links and handles ----------------------------------------------------------------------------


def _points_to_link(lines: Sequence[str]) -> bool:
    """Whether a link is what the post is about: 「まとめました→ https://…」."""
    before = ""
    for line in lines:
        link = URL.search(line)
        if link and not UNKNOWN_LINK.match(link[0]) and POINTER.search(line[: link.start()] or before):
            return True
        before = line
    return False


def _remove_links(lines: Sequence[str], removed: list[str]) -> list[str]:
    without = [URL.sub("", line).strip() for line in lines]
    if without != list(lines):
        removed.append("url")
    return [line for line in without if line]


HANDLE = re.compile(r"[@＠][A-Za-z0-9_]{1,20}(?![A-Za-z0-9_])")
EMAIL_LIKE = re.compile(r"[A-Za-z0-9._-]@[A-Za-z0-9-]+\.")
_CREDIT = r"(?:(?:photo|pic|via|by|from|cc|with|feat|撮影|写真|画像|提供|出典|[📷📸©🎥])\.?\s*[:：/]?\s*)*"
_HANDLES = rf"(?:{HANDLE.pattern}\s*(?:さん|様|ちゃん|くん|君|先生|より)?\s*)+"
BRACKETED_HANDLE = re.compile(rf"\s*[(（\[【]\s*{_CREDIT}{_HANDLES}[)）\]】]", re.IGNORECASE)
CREDIT = re.compile(rf"(?:^|(?<=[\s。！？!?♪）)」]))\s*{_CREDIT}{_HANDLES}$", re.IGNORECASE)
BARE_HANDLES = re.compile(rf"(?:{HANDLE.pattern}\s*)+$")
SENTENCE_END = re.compile(rf"(?:[。！？!?♪♡♥☆★…）)」』w]|{EMOJI.pattern})\s*$")
PARTICLE_AT_END = re.compile(r"(?:[はがをにとのへでも]|から|より)\s*$")


def _remove_handles(lines: list[str], removed: list[str]) -> bool:
    """Cut credits and bracketed handles out of the lines; False where a handle is a word of its sentence."""
    for number, line in enumerate(lines):
        if not HANDLE.search(line) or EMAIL_LIKE.search(line):  # an address is for the filters
            continue
        without = BRACKETED_HANDLE.sub("", line)
        credit = CREDIT.search(without)
        if credit:
            before = without[: credit.start()]
            bare = BARE_HANDLES.match(credit[0].strip()) and not PARTICLE_AT_END.search(before)
            if bare or not before.strip() or SENTENCE_END.search(before):
                without = before
        if HANDLE.search(without):
            return False
        lines[number] = without.strip()
        removed.append("handle")
    return True


# --- Hashtags -----------------------------------------------------------------------------------

# After twitter-text: a tag begins after anything but a letter or digit and holds at least one letter.
HASHTAG = re.compile(r"(?<![\w&])[#＃](?![\ufe0f\u20e3])([\w・〜～゛゜゠〃]*[^\W\d_][\w・〜～゛゜゠〃]*)")
TAG_RUN = re.compile(rf"(?:{HASHTAG.pattern}\s*)+$")
# 「寝てる#猫」, 「#猫#犬」: no tags to X, but meant as such.
LAST_TAGS = re.compile(r"(?<=[ぁ-ヺー一-鿿々])(?=[#＃]\w+(?:\s*[#＃]\w+)*\s*$)")
TWO_TAGS = re.compile(r"(?<![\w&])[#＃]\w+(?=[#＃]\w)")
# What may follow a noun: then the tag before it is that noun.
PARTICLE_AFTER = re.compile(
    r"\s*(?:は|が|を|に(?!ゃ)|へ|と(?!て|い)|も(?!う|ふ|ぐ|こ|ち)|の(?!び|ん)|で(?!す?か)|や(?!っ|ば|め)|から|まで|より|って|という|とか|なんて"
    r"|だ|です|じゃ|では|たち|さん|ちゃん|くん|君|様|らし|みたい|っぽ|、)"
)
# What stands before a noun: 「今日は #猫の日」, 「大好きな #柴犬」, 「うちの #猫」.
NOUN_WANTED = re.compile(r"[はをがへ]$|[一-鿿々ァ-ヺーきのか]な$|[一-鿿々ァ-ヺーちこそあど]の$|(?:という|って|「|『)$")
COMPLETE = re.compile(
    r"(?:こんにちは|こんばんは|おはよう|では|それは|いいかな|るかな|たかな|だな|るな|たな|いな|ますな|なのかな|かなあ?)$"
)


def _resolve_hashtags(lines: list[str], removed: list[str]) -> list[str]:
    """Keep a tag that is a word of its sentence as that word, and drop the others.

    Labels are: lines of tags alone, tags before or after the sentence. Words are: a tag followed by a particle
    (「#柴犬 が走る」), a tag in the middle of a sentence, and a last tag without which the sentence would break off
    (「今日は #猫の日」).
    """
    return [line for line in (_resolve_line(line, removed) for line in lines) if line]


def _resolve_line(line: str, removed: list[str]) -> str:
    line = LAST_TAGS.sub(" ", TWO_TAGS.sub(r"\g<0> ", line))
    if not HASHTAG.search(line):
        return line
    run = TAG_RUN.search(line)
    if run:
        line = _keep_last_word(line[: run.start()], run[0], removed)
    words: list[str] = []
    position = 0
    for tag in HASHTAG.finditer(line):
        before, after = line[position : tag.start()], line[tag.end() :]
        words.append(before)
        if before.strip() or any(word.strip() for word in words) or PARTICLE_AFTER.match(after):
            # X wants spaces around a tag; Japanese has none around a word.
            words[-1] = words[-1].rstrip()
            words.append(tag[1])
            position = tag.end() + len(after) - len(after.lstrip())
            removed.append("hashtag_word")
        else:
            position = tag.end()
            removed.append("hashtag")
    return "".join([*words, line[position:]]).strip()


def _keep_last_word(sentence: str, run: str, removed: list[str]) -> str:
    """Return the sentence before a run of tags, with the first tag as its last word where it needs one."""
    sentence = sentence.rstrip()
    tags = HASHTAG.findall(run)
    if NOUN_WANTED.search(sentence) and not COMPLETE.search(sentence):
        removed.append("hashtag_word")
        return sentence + tags[0]
    removed.append("hashtag")
    return sentence


# --- Counts, footers and what they leave ----------------------------------------------------------

# 1/3, (2/4), 【1/2】, ①: the place in a thread, at the beginning or the end and nowhere else.
BARE_COUNT = r"\d{1,2}\s*[/／]\s*\d{1,2}"
BRACKETED_COUNT = rf"[(（\[【<]\s*{BARE_COUNT}\s*[)）\]】>]"
FIRST_COUNT = re.compile(rf"^\s*(?:{BRACKETED_COUNT}|(?:{BARE_COUNT}|[①-⑳])(?=\s|$))[\s:：.．、]*")
LAST_COUNT = re.compile(rf"(?:\s*{BRACKETED_COUNT}|(?:^|(?<=[\s。！？!?♪）)」]))(?:{BARE_COUNT}|[①-⑳]))\s*$")


def _remove_counts(lines: list[str], removed: list[str]) -> list[str]:
    """Cut 1/3 and its like off the two ends of a text."""
    if not lines:
        return lines
    first = FIRST_COUNT.sub("", lines[0])
    if first != lines[0]:
        removed.append("count")
    lines = [first, *lines[1:]]
    last = LAST_COUNT.sub("", lines[-1])
    if last != lines[-1]:
        removed.append("count")
    return [*lines[:-1], last]


def _remove_footers(lines: list[str], removed: list[str]) -> list[str]:
    _, footer = _phrases()
    kept = [line for line in lines if not footer.fullmatch(unicodedata.normalize("NFKC", line).strip())]
    if len(kept) < len(lines):
        removed.append("footer")
    return kept


EMPTY_BRACKETS = re.compile(r"\(\s*\)|（\s*）|\[\s*\]|【\s*】|「\s*」|『\s*』|<\s*>|〈\s*〉|《\s*》")
LOOSE_START = re.compile(r"^(?:[|｜/／:：、。,]+\s*)+")
LOOSE_END = re.compile(r"(?:\s*(?:[|｜/／:：、,→⇒➡▶►↓⬇👇▼&＆+＋]\ufe0f?|(?<=\s)RT))+$")


def _tidy(lines: Iterable[str]) -> str:
    """Remove what the removals left behind and bring white space in order: single spaces, single line ends."""
    tidied = []
    for line in lines:
        line = EMPTY_BRACKETS.sub("", line)
        line = LOOSE_END.sub("", LOOSE_START.sub("", re.sub(r"[^\S\n]+", " ", line).strip()))
        tidied.append(SHOUT.sub(r"\1\1\1\1", line).strip())
    return "\n".join(line for line in tidied if line)


# --- Boilerplate --------------------------------------------------------------------------------

LONG_PHRASE = 8  # letters; a repetition of so many is no chance
SHORTEST_PHRASE = 4
FEWEST_REPETITIONS = 5

_END = rf"(?:[\s。！？!?♪♫♬♡♥☆★✨…〜～】』」)）]|{EMOJI.pattern})"
PHRASE = re.compile(rf"(?:【[^】]*】|(?:(?!{_END}|【).)*){_END}*")
DATE = re.compile(r"(?:\d+年)?\d+月\d+日[月火水木金土日]?(?:曜日?)?")


def find_boilerplate(texts: Sequence[str], settings: TextSettings = TextSettings()) -> frozenset[str]:
    """Return the digests of the phrases that an account repeats: greetings, signatures, titles, days' numbers.

    A phrase ends at a space, line end, punctuation or emoji. Two are the same if they differ in nothing but
    punctuation, emoji and numbers, so 「生後12日目！」 is 「生後345日目」.

    Args:
        texts: the account's, as `strip_markup` leaves them.
    """
    if len(texts) < settings.boilerplate_posts:
        return frozenset()
    counts = Counter(shape for text in texts for shape in {_shape(phrase) for phrase in _split_phrases(text)})
    return frozenset(
        _digest(shape)
        for shape, count in counts.items()
        if len(shape) >= SHORTEST_PHRASE
        and count >= FEWEST_REPETITIONS
        and count >= len(texts) * _share(shape, settings)
    )


def _share(shape: str, settings: TextSettings) -> float:
    return settings.boilerplate_share if len(shape) >= LONG_PHRASE else settings.short_boilerplate_share


def remove_boilerplate(text: str, boilerplate: AbstractSet[str]) -> tuple[str, tuple[str, ...]]:
    """Cut the phrases out; return the rest and the digests of what was cut."""
    if not boilerplate:
        return text, ()
    lines, cut = [], []
    for line in text.split("\n"):
        phrases = [(phrase, _digest(_shape(phrase))) for phrase in _split_phrases(line)]
        found = [digest for _, digest in phrases if digest in boilerplate]
        rest = "".join(phrase for phrase, digest in phrases if digest not in boilerplate)
        cut += found
        if not found or fold(rest):  # of 「🐶まるより」 the dog goes too
            lines.append(rest)
    return _tidy(lines), tuple(dict.fromkeys(cut))


def _split_phrases(text: str) -> list[str]:
    return [phrase for line in text.split("\n") for phrase in PHRASE.findall(line) if phrase]


def _shape(phrase: str) -> str:
    return re.sub(r"\d+", "0", DATE.sub("年月日曜", fold(phrase)))


def _digest(shape: str) -> str:
    return hashlib.blake2b(shape.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
