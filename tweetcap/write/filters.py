"""What may not be published: broken, blocked, copied or too long texts, and near-copies of each other.

Everything here looks at text alone and imports no torch, so that whoever only has texts needn't wait for it.
"""

import hashlib
import re
import struct
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import numpy as np

MAX_WEIGHTED_LENGTH = 280

# The reasons that reason_to_drop gives, in the order in which it looks for them.
DROP_REASONS = ("empty", "too_long", "email", "handle", "url", "phone", "blocked", "broken", "copy")

# From this Dice similarity on, two tweets of one photo tell the same joke. Measured on tweets written for
# training: different jokes about one photo stay below 0.4 in all of 10,473 pairs, and short everyday lines
# reach 0.5 in 1 pair of 800; 「耳のほうが顔より大きいんだが」 and 「耳のほうが顔より大きい」 have 0.87.
NEAR_COPY = 0.5


MOST_SEEN_TEXTS = 2**26  # 256 MB in memory


# --- Length on X --------------------------------------------------------------------------------

# twitter-text, config v3: these code points weigh 2, all others 1; a URL weighs 23.
HEAVY = re.compile(r"[^\u0000-\u10ff\u2000-\u200d\u2010-\u201f\u2032-\u2037]")
URL_WEIGHT = 23

PICTOGRAPH = (
    r"(?:[\u203c\u2049\u2122\u2139\u2194-\u21aa\u231a-\u23ff\u24c2\u25aa-\u25fe\u2600-\u27bf\u2934\u2935"
    r"\u2b05-\u2b55\u3030\u303d\u3297\u3299\U0001f000-\U0001faff]\ufe0f?[\U0001f3fb-\U0001f3ff]?)"
)
EMOJI = re.compile(
    r"[\U0001f1e6-\U0001f1ff]{2}"  # flag
    r"|[0-9#*]\ufe0f?\u20e3"  # keycap
    r"|\U0001f3f4[\U000e0020-\U000e007e]+\U000e007f"  # flag of a region
    r"|[\u00a9\u00ae]\ufe0f"
    rf"|{PICTOGRAPH}(?:\u200d{PICTOGRAPH})*"
)

# Only ASCII counts as part of a domain or path, since Japanese may follow a URL without a space.
URL = re.compile(
    r"https?://[!-~]+"
    r"|(?<![a-z0-9@.-])(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+"
    r"(?:app|be|biz|blog|cc|cn|co|com|de|dev|edu|eu|fm|fr|gg|gov|info|io|jp|kr|link|ly|me|moe|net|online|org|page"
    r"|ru|shop|site|store|tk|to|tokyo|tv|tw|uk|us|work|world|ws|xyz)(?![a-z0-9-])(?:[:/?#][!-~]*)?",
    re.IGNORECASE | re.ASCII,
)


def weighted_length(text: str) -> int:
    """Return the length that X counts: 2 a kanji, kana or emoji, 1 a Latin letter, 23 a URL, 280 at most.

    After twitter-text's config v3. A sequence of emoji that no font draws as one may be counted too short.
    """
    text = unicodedata.normalize("NFC", text)
    text, urls = URL.subn("", text)
    text, emoji = EMOJI.subn("", text)
    return len(text) + len(HEAVY.findall(text)) + 2 * emoji + URL_WEIGHT * urls


# --- Copies -------------------------------------------------------------------------------------


def fold(text: str) -> str:
    """Return the letters and digits of the text, NFKC and lower case: what is left when only wording counts.

    Hiragana and katakana stay apart. A text of emoji or punctuation alone folds to nothing.
    """
    text = unicodedata.normalize("NFKC", text).lower()
    return "".join(character for character in text if unicodedata.category(character)[0] in "LN")


def near_copies(a: str, b: str) -> bool:
    """Return whether two texts of one photo are too alike to be offered side by side.

    They are if they fold to the same, or if their bigrams overlap by NEAR_COPY or more (Dice).
    """
    (folded_a, bigrams_a), (folded_b, bigrams_b) = _wording(a), _wording(b)
    if not folded_a or not folded_b:
        return a.strip() == b.strip()
    overlap = 2 * len(bigrams_a & bigrams_b)
    return folded_a == folded_b or overlap >= NEAR_COPY * max(len(bigrams_a) + len(bigrams_b), 1)


# A writer compares every candidate with every other one.
@lru_cache(maxsize=1024)
def _wording(text: str) -> tuple[str, frozenset]:
    """Return the folded text and its bigrams, numbered, so that one that occurs twice counts twice."""
    folded = fold(text)
    count = Counter()
    numbered = []
    for start in range(len(folded) - 1):
        bigram = folded[start : start + 2]
        count[bigram] += 1
        numbered.append((bigram, count[bigram]))
    return folded, frozenset(numbered)


class SeenTexts:
    """The training texts as a set of hashes, small enough to ship with a checkpoint.

    A text is in the set if it folds like a training text, so punctuation and emoji don't make a copy new.
    Kept are 32-bit BLAKE2b hashes, about 1 MB for 450,000 texts: then one new text in 9,600 is taken for a copy,
    which costs a candidate and no more.

    The file: ``TCSEEN``, the version as uint16, the count as uint64, then the zlib-compressed differences of the
    ascending hashes as uint32; all little-endian.
    """

    MAGIC = b"TCSEEN\x01\x00"

    def __init__(self, hashes: np.ndarray):
        self._hashes = hashes  # uint32 (count,), ascending, each once

    @classmethod
    def from_texts(cls, texts: Iterable[str]) -> "SeenTexts":
        return cls(np.unique(np.fromiter((_hash(text) for text in texts), dtype="<u4")))

    def __or__(self, other: "SeenTexts") -> "SeenTexts":
        return SeenTexts(np.union1d(self._hashes, other._hashes))

    def save(self, path: str | Path) -> None:
        header = self.MAGIC + struct.pack("<Q", len(self))
        differences = np.diff(self._hashes, prepend=self._hashes.dtype.type(0))
        Path(path).write_bytes(header + zlib.compress(differences.tobytes(), level=9))

    @classmethod
    def load(cls, path: str | Path) -> "SeenTexts":
        """Read what save wrote.

        Raises:
            ValueError: if the file is another one, of another version, or cut short.
        """
        data = Path(path).read_bytes()
        if not data.startswith(cls.MAGIC):
            raise ValueError(f"{path} is not a seen-texts file of version 1: make it again with SeenTexts.save.")
        try:
            (count,) = struct.unpack_from("<Q", data, 8)
            unpacker = zlib.decompressobj()
            # A file from elsewhere could swell without end; a byte more than it says shows whether it does.
            content = unpacker.decompress(data[16:], 4 * min(count, MOST_SEEN_TEXTS) + 1)
            whole = unpacker.eof and len(content) == 4 * count
        except (zlib.error, struct.error, ValueError):
            whole = False
        if not whole:
            raise ValueError(f"{path} is cut short: make it again with SeenTexts.save.")
        return cls(np.cumsum(np.frombuffer(content, dtype="<u4"), dtype="<u4"))

    def __contains__(self, text: str) -> bool:
        value = np.uint32(_hash(text))
        position = int(np.searchsorted(self._hashes, value))
        return position < len(self._hashes) and self._hashes[position] == value

    def __len__(self) -> int:
        return len(self._hashes)


def _hash(text: str) -> int:
    """Hash the folded text; what folds to nothing is hashed as it stands."""
    key = fold(text) or text.strip()
    digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=4).digest()
    return int.from_bytes(digest, "little")


# --- What a tweet may not hold ------------------------------------------------------------------

EMAIL = re.compile(r"[a-z0-9._%+-]+@[a-z0-9-]+(?:\.[a-z0-9-]+)+", re.IGNORECASE | re.ASCII)
# 「ポチ@散歩中」 is no handle: X's names are ASCII.
HANDLE = re.compile(r"@[a-z0-9_]", re.IGNORECASE | re.ASCII)

# 090-1234-5678, (03)1234-5678, 0120 123 456, +81 90 1234 5678; the digits are counted afterwards.
DASH = r"[-\u2010-\u2015\u2212\u30fc.\s()]{0,2}"
PHONE = re.compile(rf"(?<!\d)(?:\+81{DASH}\d{{1,4}}|\(?0\d{{1,4}}){DASH}\d{{1,4}}{DASH}\d{{3,4}}(?!\d)", re.ASCII)

BRACKETS = {"」": "「", "』": "『", ")": "(", "】": "【", "》": "《", "〉": "〈"}
EMOTICON = re.compile(r"[:;]-?[()]")  # :) and ;-( are no brackets

LONG_RUN = re.compile(r"(.)\1{7,}", re.DOTALL)
THRICE = re.compile(r"(.{3,}?)(?:[、。,.!?！？…\s]*\1){2,}", re.DOTALL)
# Small kana and the long mark are no syllable of their own: にゃー counts 1, ぴょん 2.
NO_SYLLABLE = str.maketrans("", "", "ぁぃぅぇぉっゃゅょァィゥェォッャュョー")
# 馬の馬の馬の: shorter than THRICE takes, but no one cries a noun with its particle.
NOUN_THRICE = re.compile(r"([一-鿿ァ-ヴー]+[のがをはに])\1{2,}")
# Byte soup, control characters but for the newline, bidirectional overrides, private use, lone surrogates.
SOUP = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\uf8ff\ufffd\U000f0000-\U0010ffff]")


def reason_to_drop(text: str, *, seen: SeenTexts | None = None, max_length: int = 140) -> str | None:
    """Return the first of DROP_REASONS that forbids the text, or None if it may be published.

    Args:
        text: the candidate as it would be posted.
        seen: training texts, which may not be repeated.
        max_length: longest text in characters; X's own limit holds besides.
    """
    if not text.strip():
        return "empty"
    if len(text) > max_length or weighted_length(text) > MAX_WEIGHTED_LENGTH:
        return "too_long"
    plain = unicodedata.normalize("NFKC", text).casefold()  # full-width forms can't hide an address
    for reason, pattern in (("email", EMAIL), ("handle", HANDLE), ("url", URL)):
        if pattern.search(plain):
            return reason
    if _has_phone(plain):
        return "phone"
    if _is_blocked(plain):
        return "blocked"
    if _is_broken(text):
        return "broken"
    if seen is not None and text in seen:
        return "copy"
    return None


def _has_phone(text: str) -> bool:
    """Japanese numbers have 10 or 11 digits from the 0 on, 9 or 10 after +81."""
    digits = (re.sub(r"\D", "", match[0]) for match in PHONE.finditer(text))
    return any(len(number) in ((10, 11) if number[0] == "0" else (11, 12)) for number in digits)


def _is_broken(text: str) -> bool:
    return bool(SOUP.search(text) or LONG_RUN.search(text)) or not _is_balanced(text) or _repeats_itself(text)


def _is_balanced(text: str) -> bool:
    """Every bracket is closed by its like, in order; （ and ( are the same, since kaomoji mix them."""
    opened = []
    for character in EMOTICON.sub("", text.replace("（", "(").replace("）", ")")):
        if character in BRACKETS.values():
            opened.append(character)
        elif character in BRACKETS and (not opened or opened.pop() != BRACKETS[character]):
            return False
    return not opened


def _repeats_itself(text: str) -> bool:
    """Whether something of three syllables or more is said three times in a row, as a stuck decoder does.

    Shorter cries are how people and animals talk: もぐもぐもぐ, ねえねえねえ, 近い近い近い, 待って待って.
    """
    if NOUN_THRICE.search(text):
        return True
    for match in THRICE.finditer(text):
        unit = re.sub(r"^(.+?)\1+$", r"\1", fold(match[1]))  # もぐもぐ → もぐ
        if len(unit.translate(NO_SYLLABLE)) >= 3:
            return True
    return False


def _is_blocked(text: str) -> bool:
    blocked, innocent = _block_list()
    # The cheap search first: nearly every text ends here.
    return bool(blocked.search(text) and blocked.search(innocent.sub(" ", text)))


@lru_cache(maxsize=1)
def _block_list() -> tuple[re.Pattern, re.Pattern]:
    return _compile_block_list(Path(__file__).with_name("blocklist.txt").read_text(encoding="utf-8"))


def _compile_block_list(text: str) -> tuple[re.Pattern, re.Pattern]:
    """Return the patterns of the blocked and of the innocent words; blocklist.txt says how they match."""
    entries = [unicodedata.normalize("NFKC", line.split("#")[0]).strip() for line in text.splitlines()]
    entries = [entry.casefold() for entry in entries if entry]
    innocent = [re.escape(entry[1:]) for entry in entries if entry.startswith("!")]
    blocked = [_block_pattern(entry) for entry in entries if not entry.startswith("!")]
    never = "(?!)"  # an empty alternative would match everything
    return re.compile("|".join(blocked) or never), re.compile("|".join(innocent) or never)


def _block_pattern(entry: str) -> str:
    stem = entry.removesuffix("*")
    for letters in ("a-z", "ァ-ヴー"):  # whole words, or their beginnings
        if re.fullmatch(f"[{letters} ]+", stem):
            # Looks back from the end of the word: alternatives that start with a letter are found faster.
            return f"{stem}(?<![{letters}]{stem})" + ("" if entry.endswith("*") else f"(?![{letters}])")
    return re.escape(entry)
