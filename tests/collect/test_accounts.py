"""Every mistake in accounts.yaml gets one sentence that names the line, the field and the remedy."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tweetcap.collect.accounts import MAX_POSTS, AccountsError, read_accounts

EXAMPLE = Path(__file__).parents[2] / "dataset_cards" / "animal_tweets" / "accounts.example.yaml"


def read(tmp_path: Path, text: str, **options):
    path = tmp_path / "accounts.yaml"
    path.write_text(text, encoding="utf-8")
    return read_accounts(path, **options)


def mistakes(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(AccountsError) as caught:
        read(tmp_path, text)
    return [sentence.replace(f"{tmp_path}/", "") for sentence in caught.value.sentences]


def test_the_example_is_a_valid_file():
    accounts = read_accounts(EXAMPLE)
    assert [account.name for account in accounts.accounts] == ["example_cat", "example_dog", "example_owl"]
    assert accounts.languages == ("ja", "und")
    assert [account.max_posts for account in accounts.accounts] == [200, 200, 50]
    assert accounts.accounts[2].since == datetime(2025, 4, 1, tzinfo=UTC)
    assert accounts.accounts[2].until == accounts.accounts[0].until == datetime(2026, 1, 1, tzinfo=UTC)


def test_an_account_says_more_than_the_file_and_the_command_more_than_both(tmp_path):
    text = "since: 2024-01-01\naccounts:\n  - a\n  - {name: '@b', since: 2024-02-01T09:00:00+09:00}\n"
    a, b = read(tmp_path, text).accounts
    assert (a.since, a.until, a.max_posts) == (datetime(2024, 1, 1, tzinfo=UTC), None, MAX_POSTS)
    assert (b.name, b.since) == ("b", datetime(2024, 2, 1, tzinfo=UTC))
    later = datetime(2025, 1, 1, tzinfo=UTC)
    assert [account.since for account in read(tmp_path, text, since=later).accounts] == [later, later]


def test_without_languages_japanese_is_taken_and_null_takes_all(tmp_path):
    assert read(tmp_path, "accounts: [a]").languages == ("ja", "und")
    assert read(tmp_path, "languages: null\naccounts: [a]").languages is None
    assert read(tmp_path, "languages: []\naccounts: [a]").languages is None


MISTAKES = [
    ("", "has no accounts; write a list of names under accounts:"),
    ("[a, b]", "has no accounts; write a list of names under accounts:"),
    ("since: 2024-01-01", "line 1: accounts is missing; see accounts.example.yaml for the shape."),
    ("accounts: []", "line 1: accounts needs a list; write one - NAME a line under accounts:"),
    ("accounts: a", "line 1: accounts needs a list; write one - NAME a line under accounts:"),
    ("accounts:\n  - @a\n", "line 2 is not YAML: write names without @."),
    ("accounts: [a\n", "line 2 is not YAML: see accounts.example.yaml for the shape."),
    ("accounts:\n  - a\n  - on\n", "line 3: True is no name to YAML; put it in quotes."),
    ("accounts:\n  - 2025\n", "line 2: 2025 is no name to YAML; put it in quotes."),
    (
        "accounts:\n- name: a\n  max_post: 5\n",
        "line 3: max_post is no field; there are accounts, name, since, until, languages and max_posts.",
    ),
    ("accounts:\n- max_posts: 9\n", "line 2: name is missing; see accounts.example.yaml for the shape."),
    ("accounts:\n  - a\n  - b\n  - A\n", "line 4: A is there already, in line 2; keep one."),
    ("accounts: [a, '@a']", "line 1: a is there already, in line 1; keep one."),
    ("accounts: [a]\nmax_posts: 3", "line 2: max_posts is 3; write a whole number from 5 to 800."),
    ("accounts: [a]\nmax_posts: many", "line 2: max_posts is many; write a whole number from 5 to 800."),
    ("accounts:\n- {name: a, max_posts: true}", "line 2: max_posts is True; write a whole number from 5 to 800."),
    (
        "accounts: [a]\nsince: yesterday\n",
        "line 2: yesterday is no day; write it as 2025-01-31 or 2025-01-31T12:00:00Z.",
    ),
    ("accounts: [a]\nsince: 2024\n", "line 2: 2024 is no day; write it as 2025-01-31 or 2025-01-31T12:00:00Z."),
    (
        "accounts: [a]\nsince: 2009-01-01\n",
        "line 2: 2009-01-01 is before 2010-11-06, the first day that X can be asked for.",
    ),
    (
        "accounts: [a]\nlanguages: [no]\n",
        "line 2: False is no language code; write one as X does, such as ja or und, no in quotes.",
    ),
    (
        "accounts: [a]\nsince: '0001-01-01T00:00:00+05:00'\n",
        "line 2: 0001-01-01 00:00:00+05:00 is no day; write it as 2025-01-31 or 2025-01-31T12:00:00Z.",
    ),
    ("accounts: &a\n  - *a\n", "line 1: [[...]] is no name to YAML; put it in quotes."),
    ("accounts: [a]\nlanguages: ja", "line 2: languages needs a list; write one - NAME a line under languages:"),
    ("accounts: [a]\nsince: 2024-01-01\nsince: 2024-01-02\n", "line 3: since stands twice; keep one."),
    (
        "since: 2024-05-01\naccounts:\n  - {name: a, until: 2024-04-01}\n",
        "line 3: a has since 2024-05-01 and until 2024-04-01, so that nothing is left; move one of them.",
    ),
]


@pytest.mark.parametrize(("text", "sentence"), MISTAKES)
def test_each_mistake_gets_its_sentence(tmp_path, text, sentence):
    assert mistakes(tmp_path, text) == [f"accounts.yaml {sentence}"]


def test_a_name_that_x_cannot_have_is_refused(tmp_path):
    for name in ("a b", "ねこ", "a" * 16, "https://x.com/a", ""):
        (sentence,) = mistakes(tmp_path, f"accounts:\n  - b\n  - {name!r}\n")
        assert sentence.startswith(f"accounts.yaml line 3: {name} is no name on X; write the name after the @")


def test_all_mistakes_are_told_at_once(tmp_path):
    text = "since: soon\naccounts:\n  - a b\n  - {name: c, color: red}\n  - d\n"
    assert [sentence.split(":")[0] for sentence in mistakes(tmp_path, text)] == [
        "accounts.yaml line 3",
        "accounts.yaml line 4",
        "accounts.yaml line 1",
    ]


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(AccountsError, match=r"none.yaml can't be read \(No such file"):
        read_accounts(tmp_path / "none.yaml")
    path = tmp_path / "accounts.yaml"
    path.write_bytes(b"accounts: [\xff]")
    with pytest.raises(AccountsError, match="is not UTF-8"):
        read_accounts(path)
