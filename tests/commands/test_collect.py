"""`tweetcap collect` from end to end on the fake X: what it prints, costs, leaves behind and ends with."""

import logging
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tests.collect.fake_x import (
    FREE_FAULTS,
    HARMLESS_FAULTS,
    PAID_FAULTS,
    TOKEN,
    FakeTime,
    FakeX,
    make_world,
    random_faults,
)
from tweetcap.collect import client as client_module
from tweetcap.collect import photos as photos_module
from tweetcap.collect.client import Client
from tweetcap.collect.posts import read_photos, read_posts
from tweetcap.collect.raw import lock_folder
from tweetcap.commands.collect import collect

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(collect)


@pytest.fixture(scope="module")
def server():
    time = FakeTime()
    with FakeX(make_world(accounts=3, posts=150), clock=time.clock) as server:
        server.time = time
        yield server


@pytest.fixture
def x(server, monkeypatch):
    server.reset()
    server.token = TOKEN
    monkeypatch.setenv("X_BEARER_TOKEN", TOKEN)
    monkeypatch.setattr(client_module, "API", server.url)
    monkeypatch.setattr(photos_module, "PHOTO_ORIGINS", (server.url,))
    waits = {"sleep": server.time.sleep, "clock": server.time.clock}
    monkeypatch.setattr(Client.__init__, "__kwdefaults__", {**Client.__init__.__kwdefaults__, **waits})
    return server


@pytest.fixture
def accounts(tmp_path: Path) -> Path:
    path = tmp_path / "accounts.yaml"
    path.write_text("accounts: [animal_00, animal_01, animal_02]\n")
    return path


def run(*arguments, **options):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], **options)


def test_a_run_collects_posts_and_photos_and_says_what_it_cost(tmp_path, x, accounts):
    output = tmp_path / "out"
    result = run(accounts, "--output", output, "--budget", "5usd")
    assert result.exit_code == 0, result.output
    posts = read_posts(output)
    in_japanese = {photo.media_key for post in posts if post.lang == "ja" for photo in post.photos}
    assert set(read_photos(output)) == in_japanese != {photo.media_key for post in posts for photo in post.photos}
    assert (output / "accounts.yaml").read_bytes() == accounts.read_bytes()
    said = result.output.splitlines()
    assert said[0].startswith("Estimate: up to 2400 posts of 3 accounts in 25 requests, at most 12.03 USD (prices of ")
    assert "Spent before: up to 0.00 USD; the budget is 5 USD for all runs." in said
    assert f"{output}: {x.charged.posts} posts read now; {len(posts)} posts with photos and " in result.output
    cost = x.charged.posts * 0.005 + x.charged.users * 0.01 + x.charged.media * 0.005
    assert said[-1] == f"{output}: up to {cost:.2f} USD in all."


def test_the_second_run_says_that_only_new_posts_are_missing_and_pays_for_none(tmp_path, x, accounts):
    output = tmp_path / "out"
    run(accounts, "--output", output, "--budget", "5usd", "--no-photos")
    x.reset()
    result = run(accounts, "--output", output, "--budget", "5usd", "--no-photos")
    assert result.exit_code == 0
    assert "3 of the accounts were read before: only what they posted since is missing" in result.output
    assert f"{output}: 0 posts read now;" in result.output
    assert x.charged.posts == x.charged.users == 0


def test_a_dry_run_asks_nothing_writes_nothing_and_needs_no_token(tmp_path, x, accounts, monkeypatch):
    monkeypatch.delenv("X_BEARER_TOKEN")
    result = run(accounts, "--output", tmp_path / "out", "--dry-run", "--budget", "100posts")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0] == "animal_00\tup to 800 posts\tup to 8 requests"
    assert "Estimate: up to 2400 posts of 3 accounts in 25 requests, at most 12.03 USD" in result.stdout
    assert not x.requests and not (tmp_path / "out").exists()


def test_without_a_budget_nothing_is_spent_where_nobody_can_be_asked(tmp_path, x, accounts):
    result = run(accounts, "--output", tmp_path / "out")
    assert result.exit_code == 2
    assert "reading costs money: give --budget, such as --budget 5.00usd, or look with --dry-run" in result.output
    assert not x.requests


def test_a_budget_that_is_used_up_ends_the_run_and_a_larger_one_goes_on(tmp_path, x, accounts):
    output = tmp_path / "out"
    result = run(accounts, "--output", output, "--budget", "60posts", "--no-photos")
    assert result.exit_code == 1 and x.charged.posts <= 60
    assert "tweetcap: the budget of 60 posts has no room for the next request: " in result.output
    assert "raise --budget and run the same command again." in result.output
    assert read_posts(output)
    result = run(accounts, "--output", output, "--budget", "1000posts", "--no-photos")
    assert result.exit_code == 0 and max(x.charged_posts.values()) == 1


def test_an_account_that_is_set_aside_is_named_and_ends_with_1(tmp_path, x, accounts):
    accounts.write_text("accounts: [animal_00, nobody]\n")
    result = run(accounts, "--output", tmp_path / "out", "--budget", "5usd", "--no-photos")
    assert result.exit_code == 1
    assert "nobody is set aside until the next run: Could not find user with usernames: [nobody]." in result.output
    assert f"1 of 2 accounts are set aside: {tmp_path}/out/set_aside.jsonl" in result.output


def test_days_on_the_command_line_stand_before_those_of_the_file(tmp_path, x, accounts):
    accounts.write_text("since: 2024-02-01\naccounts: [animal_00]\n")
    options = ("--since", "2024-01-02", "--until", "2024-01-04", "--no-photos", "--budget", "5usd")
    assert run(accounts, "--output", tmp_path / "out", *options).exit_code == 0
    days = {post.created_at[:10] for post in read_posts(tmp_path / "out")}
    assert days == {"2024-01-02", "2024-01-03"}


def test_ctrl_c_ends_with_130_and_the_same_command_goes_on(tmp_path, x, accounts, monkeypatch):
    output = tmp_path / "out"

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Client.__init__, "__kwdefaults__", {**Client.__init__.__kwdefaults__, "sleep": interrupt})
        x.reset([None, None, "429"])
        result = run(accounts, "--output", output, "--budget", "9usd", "--no-photos")
    assert result.exit_code == 130
    assert f"tweetcap: interrupted; what came is in {output}. Run the same command again to go on." in result.output
    assert run(accounts, "--output", output, "--budget", "9usd", "--no-photos").exit_code == 0
    assert max(x.charged_posts.values()) == 1


def test_a_folder_that_is_in_use_is_left_alone(tmp_path, x, accounts):
    with lock_folder(tmp_path / "out"):
        result = run(accounts, "--output", tmp_path / "out", "--budget", "5usd")
    assert result.exit_code == 2 and "is in use by another tweetcap" in result.output and not x.requests


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "name an accounts.yaml, or --archive with the zip file that X gave you."),
        (("{accounts}", "--archive", "a.zip"), "name an accounts.yaml, or --archive"),
        (("--archive", "a.zip", "--budget", "5usd", "--since", "2025-01-01"), "leave out --budget and --since."),
        (("{accounts}", "--budget", "5"), "--budget is 5; write dollars as 5.00usd or posts as 1000posts."),
        (("{accounts}", "--since", "soon"), "--since: soon is no day; write it as 2025-01-31"),
        (("{accounts}", "--until", "1999-01-01"), "--until: 1999-01-01 is before 2010-11-06"),
        (("none.yaml",), "none.yaml can't be read (No such file or directory): check the path."),
        (
            ("{accounts}", "--prices", "none.yaml"),
            "none.yaml can't be read (No such file or directory)",
        ),
        (("{accounts}", "--token-file", "none"), "none can't be read as text: check --token-file."),
    ],
)
def test_a_wrong_command_gets_one_sentence(tmp_path, x, accounts, arguments, sentence):
    arguments = [argument.replace("{accounts}", str(accounts)) for argument in arguments]
    result = run(*arguments, "--output", tmp_path / "out")
    assert result.exit_code == 2 and sentence in result.output
    assert not x.requests and not (tmp_path / "out").exists()


def test_every_mistake_of_the_file_has_its_line(tmp_path, x, accounts):
    accounts.write_text("since: soon\naccounts: [a b]\n")
    result = run(accounts, "--output", tmp_path / "out", "--dry-run")
    assert result.exit_code == 2
    assert [line.split(":")[:2] for line in result.output.splitlines()] == [
        ["tweetcap", f" {accounts} line 2"],
        ["tweetcap", f" {accounts} line 1"],
    ]


def test_a_file_where_the_folder_should_be_is_named(tmp_path, x, accounts):
    result = run(accounts, "--output", accounts, "--dry-run")
    assert result.exit_code == 2 and f"{accounts} is a file; --output names a folder." in result.output


def test_a_whole_run_on_a_faulty_server_leaves_the_token_nowhere(tmp_path, x, accounts, caplog):
    caplog.set_level(logging.DEBUG)
    x.reset(random_faults(1, 0.4, PAID_FAULTS + FREE_FAULTS + HARMLESS_FAULTS))
    token_file = tmp_path / "token"
    token_file.write_text(TOKEN)
    output = tmp_path / "out"
    result = run(accounts, "--output", output, "--budget", "50usd", "--token-file", token_file)
    assert result.exit_code == 0, result.output
    assert not x.leaks
    logged = "\n".join(f"{record.getMessage()} {record.args}" for record in caplog.records)
    for text in (logged, result.output, *x.requests):
        assert TOKEN not in text
    for path in output.rglob("*"):
        assert path.is_dir() or TOKEN.encode() not in path.read_bytes(), path
