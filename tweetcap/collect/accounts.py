"""`accounts.yaml`: whose posts are wanted, from when to when, and how many; each mistake in one sentence."""

import re
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

# With replies left out, X gives the newest 800 posts of a timeline and nothing older.
MAX_POSTS = 800
# X takes no earlier time.
FIRST_POST = datetime(2010, 11, 6, tzinfo=UTC)


class AccountsError(ValueError):
    """The file has mistakes.

    Attributes:
        sentences: one for each mistake, naming the place and the remedy.
    """

    def __init__(self, sentences: list[str]) -> None:
        super().__init__(" ".join(sentences))
        self.sentences = sentences


def read_time(value: Any) -> datetime | None:
    """Return a day (its beginning) or a moment as a time in UTC.

    Raises:
        ValueError: if it is neither.
    """
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            raise ValueError(f"{value} is no day; write it as 2025-01-31 or 2025-01-31T12:00:00Z") from None
    if isinstance(value, datetime):
        try:
            value = value.replace(tzinfo=value.tzinfo or UTC).astimezone(UTC).replace(microsecond=0)
        except OverflowError:  # in UTC it is before the year 1 or after 9999
            raise ValueError(f"{value} is no day; write it as 2025-01-31 or 2025-01-31T12:00:00Z") from None
    elif isinstance(value, date):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    elif value is not None:
        raise ValueError(f"{value} is no day; write it as 2025-01-31 or 2025-01-31T12:00:00Z")
    if value is not None and value < FIRST_POST:
        raise ValueError(f"{value:%Y-%m-%d} is before {FIRST_POST:%Y-%m-%d}, the first day that X can be asked for")
    return value


def _name(value: Any) -> str:
    if not isinstance(value, str):
        # YAML takes an unquoted yes, no, on or 2025 for something else than text.
        raise ValueError(f"{value} is no name to YAML; put it in quotes")
    name = value.strip().removeprefix("@")
    if re.fullmatch(r"\w{1,15}", name, re.ASCII) is None:
        raise ValueError(f"{value} is no name on X; write the name after the @: up to 15 letters, digits and _")
    return name


def _language(value: Any) -> str:
    if not isinstance(value, str) or re.fullmatch(r"[a-z]{2,3}(-[A-Za-z]{2,4})?", value, re.ASCII) is None:
        raise ValueError(f"{value} is no language code; write one as X does, such as ja or und, no in quotes")
    return value


Time = Annotated[datetime | None, BeforeValidator(read_time)]
Name = Annotated[str, BeforeValidator(_name)]
Language = Annotated[str, BeforeValidator(_language)]
Count = Annotated[int, Field(strict=True, ge=5, le=MAX_POSTS)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Name
    since: Time = None
    until: Time = None
    max_posts: Count | None = None


def _entry(value: Any) -> Any:
    return value if isinstance(value, dict) else {"name": value}


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    accounts: Annotated[list[Annotated[_Entry, BeforeValidator(_entry)]], Field(min_length=1)]
    since: Time = None
    until: Time = None
    max_posts: Count = MAX_POSTS
    languages: Annotated[list[Language] | None, AfterValidator(lambda codes: codes or None)] = ["ja", "und"]


class Account(BaseModel):
    """One account and what is wanted of it.

    Attributes:
        name: without @, as the file writes it.
        since: posts from this moment on, None for as far back as X gives them.
        until: posts before this moment, None for up to now.
        max_posts: read at most this many of its posts, the newest first, all runs together.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    since: datetime | None
    until: datetime | None
    max_posts: int


class Accounts(BaseModel):
    """What `accounts.yaml` asks for.

    Attributes:
        languages: codes of the posts whose photos are fetched, None for all. X has no such filter: posts in
            other languages are read, and paid for, all the same.
    """

    model_config = ConfigDict(frozen=True)

    accounts: tuple[Account, ...]
    languages: tuple[str, ...] | None


def read_accounts(path: Path, *, since: datetime | None = None, until: datetime | None = None) -> Accounts:
    """Read the file; what an account doesn't say, the file's own `since`, `until` and `max_posts` do.

    Args:
        since, until: in place of all that the file says of these.

    Raises:
        AccountsError: if the file can't be used.
    """
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise AccountsError([f"{path} can't be read ({error.strerror}): check the path."]) from None
    except UnicodeDecodeError:
        raise AccountsError([f"{path} is not UTF-8: save it as UTF-8."]) from None
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        remedy = "write names without @" if "'@'" in str(error) else "see accounts.example.yaml for the shape"
        raise AccountsError([f"{_place(path, error)} is not YAML: {remedy}."]) from None
    if not isinstance(content, dict):
        raise AccountsError([f"{path} has no accounts; write a list of names under accounts:"])
    sentences = [f"{path} line {line}: {key} stands twice; keep one." for key, line in _doubled_keys(tree)]
    try:
        file = _File.model_validate(content)
    except ValidationError as error:
        sentences += [_sentence(path, tree, mistake) for mistake in error.errors()]
        raise AccountsError(sentences) from None

    seen: dict[str, int] = {}
    accounts = []
    for index, entry in enumerate(file.accounts):
        line = _line(tree, ("accounts", index))
        if entry.name.lower() in seen:
            first = seen[entry.name.lower()]
            sentences.append(f"{path} line {line}: {entry.name} is there already, in line {first}; keep one.")
            continue
        seen[entry.name.lower()] = line
        account = Account(
            name=entry.name,
            since=since or entry.since or file.since,
            until=until or entry.until or file.until,
            max_posts=entry.max_posts or file.max_posts,
        )
        accounts.append(account)
        if account.since and account.until and account.since >= account.until:
            sentences.append(
                f"{path} line {line}: {entry.name} has since {account.since:%Y-%m-%d} and until "
                f"{account.until:%Y-%m-%d}, so that nothing is left; move one of them."
            )
    if sentences:
        raise AccountsError(sentences)
    return Accounts(accounts=tuple(accounts), languages=tuple(file.languages) if file.languages else None)


# --- Places and sentences ---------------------------------------------------------------------------


def _place(path: Path, error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    return f"{path} line {mark.line + 1}" if mark else str(path)


def _sentence(path: Path, tree: yaml.Node, mistake: dict[str, Any]) -> str:
    """Return one sentence on one of pydantic's errors."""
    # What isn't an index or a key of the file, such as a branch of a union, is pydantic's own.
    location = mistake["loc"]
    place = f"{path} line {_line(tree, location)}"
    field = next((str(part) for part in reversed(location) if isinstance(part, str)), "accounts")
    value = mistake.get("input")
    kind = mistake["type"]
    if kind == "extra_forbidden":
        return f"{place}: {field} is no field; there are accounts, name, since, until, languages and max_posts."
    if kind == "missing":
        return f"{place}: {field} is missing; see accounts.example.yaml for the shape."
    if field == "max_posts":
        return f"{place}: max_posts is {value}; write a whole number from 5 to {MAX_POSTS}."
    if kind == "value_error":
        return f"{place}: {mistake['ctx']['error']}."
    if kind in ("list_type", "too_short"):
        return f"{place}: {field} needs a list; write one - NAME a line under {field}:"
    return f"{place}: {field} is {value}; see accounts.example.yaml for the shape."


def _line(tree: yaml.Node, location: tuple[str | int, ...]) -> int:
    """Return the line of the deepest place of the file that the location leads to."""
    node = tree
    for part in location:
        if isinstance(node, yaml.MappingNode):
            pairs = {key.value: (key, value) for key, value in node.value}
            if part not in pairs:
                break
            key, node = pairs[part]
            if isinstance(node, yaml.ScalarNode):
                return key.start_mark.line + 1
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
    return node.start_mark.line + 1


def _doubled_keys(tree: yaml.Node) -> list[tuple[str, int]]:
    """Return the keys that stand twice in one mapping, which YAML itself lets pass, with their lines."""
    doubled = []
    nodes = [tree]
    seen = set()
    while nodes:
        node = nodes.pop()
        if id(node) in seen:  # an alias may stand for many nodes, or hold itself
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            keys = [key.value for key, _ in node.value]
            lines = [key.start_mark.line + 1 for key, _ in node.value]
            doubled += [(str(key), lines[i]) for i, key in enumerate(keys) if key in keys[:i]]
            nodes += [value for _, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            nodes += node.value
    return doubled
