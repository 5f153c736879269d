"""A run that is killed at any moment and started again ends with what an uncut run has, and pays no page twice."""

import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.collect.fake_x import TOKEN, FakeX, make_world
from tweetcap.collect.accounts import read_accounts
from tweetcap.collect.budget import Ledger, load_prices
from tweetcap.collect.client import Client
from tweetcap.collect.photos import fetch_photos
from tweetcap.collect.posts import read_photos, write_posts
from tweetcap.collect.raw import lock_folder, read_pages
from tweetcap.collect.timelines import collect_timelines

# The real command, sent to the fake server, and without the waits between tries.
CHILD = """
import sys, time
time.sleep = lambda seconds: None
from tweetcap.collect import client, photos
client.API, photos.PHOTO_ORIGINS = sys.argv[1], (sys.argv[1],)
import typer
from tweetcap.commands.collect import collect
app = typer.Typer()
app.command()(collect)
app(sys.argv[2:])
"""


def command(x: FakeX, accounts: Path, output: Path, *options: str) -> list[str]:
    return [sys.executable, "-c", CHILD, x.url, str(accounts), "--output", str(output), *options]


def photo_state(folder: Path) -> dict[str, str]:
    """Return the content of each photo's record and, with that, of its file."""
    rows = [json.loads(line) for line in (folder / "photos.jsonl").read_text().splitlines()]
    assert len(rows) == len({row["media_key"] for row in rows}), "a photo was recorded twice"
    files = {str(path.relative_to(folder)) for path in folder.glob("photos/**/*") if path.is_file()}
    assert files == {record.path for record in read_photos(folder).values() if record.path}
    return {row["media_key"]: json.dumps(row) for row in rows}


def collect_here(x: FakeX, accounts: Path, output: Path) -> None:
    """Do what the command does, without a process of its own."""
    with Ledger(output, load_prices()) as ledger, Client(output, TOKEN, ledger, api=x.url) as client:
        collect_timelines(read_accounts(accounts), output, client)
    posts = write_posts(output)
    fetch_photos(output, [photo for post in posts for photo in post.photos], origins=[x.url])


def test_a_run_that_was_killed_at_random_moments_ends_as_an_uncut_one(tmp_path):
    accounts = tmp_path / "accounts.yaml"
    accounts.write_text("languages: null\naccounts: [animal_00, animal_01, animal_02]\n")
    environment = {**os.environ, "X_BEARER_TOKEN": TOKEN}
    generator = random.Random(4)
    with FakeX(make_world(accounts=3, posts=180)) as x:
        collect_here(x, accounts, tmp_path / "uncut")
        paid = x.charged
        x.reset()
        for most in (3, 3, 80):  # while it looks accounts up, while it reads pages, among the photos
            target, moment = len(x.requests) + generator.randint(2, most), generator.choice(("before", "after"))
            process = subprocess.Popen(command(x, accounts, tmp_path / "cut", "--budget", "90usd"), env=environment)

            def kill(number, when, target=target, moment=moment, process=process):
                if (number, when) == (target, moment):
                    process.kill()

            x.before_answer = lambda number, kill=kill: kill(number, "before")
            x.after_answer = lambda number, kill=kill: kill(number, "after")
            assert process.wait(120) == -9
        x.before_answer = x.after_answer = lambda number: None
        with lock_folder(tmp_path / "cut"):
            collect_here(x, accounts, tmp_path / "cut")

        cut, uncut = tmp_path / "cut", tmp_path / "uncut"
        assert (cut / "posts.jsonl").read_bytes() == (uncut / "posts.jsonl").read_bytes()
        assert photo_state(cut) == photo_state(uncut)

        pages = [page for page in read_pages(cut) if page["request"]["kind"] == "timeline"]
        read = Counter(post["id"] for page in pages for post in page["body"].get("data", []))
        assert max(read.values()) == 1
        # A page may be charged twice where the process died between X's answer and the disk, and only there.
        twice = sum(count - 1 for count in x.charged_posts.values())
        assert twice <= 3 * 100 and x.charged.posts == paid.posts + twice
        with Ledger(cut, load_prices()) as ledger:
            assert ledger.spent.posts >= x.charged.posts and ledger.cost >= ledger.prices.cost(x.charged)
