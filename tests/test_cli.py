"""The command line: what it prints and writes, and how little a broken photo or a cut may cost."""

import inspect
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import tweetcap
from tests.fake_writer import FakeTweet, FakeWriter
from tweetcap import cli
from tweetcap.write.settings import DEFAULTS, RANGES

ROOT = Path(__file__).parents[1]


@pytest.fixture
def run(monkeypatch, fake_writer):
    """Run the command in this process, with the fake writer in place of a checkpoint."""
    writer_class = types.SimpleNamespace(from_pretrained=lambda *_, **__: fake_writer)
    monkeypatch.setitem(vars(tweetcap), "TweetWriter", writer_class)
    return lambda *arguments, **options: CliRunner().invoke(cli.app, [str(a) for a in arguments], **options)


@pytest.fixture
def album(tmp_path, lion) -> Path:
    """A folder of four photos, one of them broken, among other files."""
    folder = tmp_path / "album"
    (folder / "day 2").mkdir(parents=True)
    for name in ("b.jpg", "a.JPG", "day 2/猫.jpeg"):
        shutil.copy(lion, folder / name)
    (folder / "broken.jpg").write_bytes(lion.read_bytes()[:4000])
    (folder / "notes.txt").write_text("not a photo")
    (folder / "._b.jpg").write_bytes(b"what macOS leaves beside a photo")
    return folder


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(
    "command", [[], ["write"], ["collect"], ["evaluate"], ["dataset", "build", "stair"], ["survey", "create"]]
)
def test_help_imports_nothing_heavy(command):
    script = (
        "import sys, tweetcap.cli\n"
        "try:\n    tweetcap.cli.app(sys.argv[1:])\n"
        "finally:\n    print(sorted({'torch', 'transformers', 'gradio', 'numpy'} & sys.modules.keys()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *command, "--help"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert "Usage:" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_help_shows_the_defaults_and_ranges(run):
    words = " ".join(run("write", "--help").output.split())
    for name, (low, high) in RANGES.items():
        assert f"({low} to {high})" in words
        assert f"[default: {getattr(DEFAULTS, name)}]" in words


def test_version_is_the_package_s(run):
    assert run("--version").output == f"tweetcap {tweetcap.__version__}\n"


def test_one_photo_prints_a_line_a_tweet_with_its_tone(run, lion):
    result = run("write", lion, "--count", 6)
    lines = [line.split("\t") for line in result.stdout.splitlines()]
    assert result.exit_code == 0
    assert [tone for tone, _ in lines] == [*FakeWriter.tones, "つぶやき"]
    assert all(text.endswith("なう") for _, text in lines)
    assert result.stderr == ""


def test_several_photos_have_a_header_each(run, lion, tmp_path):
    cat = tmp_path / "cat.jpg"
    shutil.copy(lion, cat)
    blocks = run("write", lion, cat, "--describe").stdout.split("\n\n")
    assert [block.splitlines()[0] for block in blocks] == [f"# {lion}", f"# {cat}"]
    assert all(block.splitlines()[1] == "説明\t幅256の写真" for block in blocks)


def test_a_tweet_of_two_lines_stays_one_line_of_text_and_whole_in_json(run, lion, fake_writer, monkeypatch):
    tweet = FakeTweet("一行目\n二行目", "大喜利", -1.0, 0.0)
    monkeypatch.setattr(fake_writer, "write", lambda photo, **settings: [tweet])
    assert run("write", lion).stdout == "大喜利\t一行目 二行目\n"
    assert json.loads(run("write", lion, "--json").stdout)["tweets"][0]["text"] == "一行目\n二行目"


def test_json_holds_what_is_needed_to_repeat_the_photo(run, lion, fake_writer):
    row = json.loads(run("write", lion, "--json", "--tone", "大喜利", "--temperature", 1.1).stdout)
    again = fake_writer.write(
        lion, seed=row["seed"], tone=row["settings"]["tone"], temperature=row["settings"]["temperature"]
    )
    assert [tweet["text"] for tweet in row["tweets"]] == [tweet.text for tweet in again]
    assert row["photo"] == str(lion)
    assert row["tweets"][0].keys() == {"text", "tone", "log_likelihood", "grounding"}
    assert "description" not in row


def test_a_photo_is_read_from_standard_input(run, lion):
    result = run("write", "-", "--json", input=lion.read_bytes())
    assert (result.exit_code, json.loads(result.stdout)["photo"]) == (0, "-")
    result = run("write", "-", input=b"no photo")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "not a photo" in result.stderr


def test_every_option_reaches_the_writer(run, lion, fake_writer):
    options = "--count 3 --tone ほっこり --temperature 0.5 --top-p 0.7 --guidance 1.5 --max-length 80".split()
    assert run("write", lion, *options).exit_code == 0
    *settings, seed, max_length = fake_writer.calls[0]
    assert (settings, max_length) == ([3, "ほっこり", 0.5, 0.7, 1.5], 80)
    assert 0 <= seed < 2**32


def test_a_folder_is_read_to_the_bottom_in_order_without_other_files(run, album):
    result = run("write", album, "--json")
    photos = [json.loads(line)["photo"] for line in result.stdout.splitlines()]
    names = ("a.JPG", "b.jpg", "broken.jpg", "day 2/猫.jpeg")
    assert photos == [str(album / name) for name in names]
    assert "4 photos; other files ignored: 2." in result.stderr


def test_a_broken_photo_does_not_stop_the_folder(run, album, tmp_path):
    output = tmp_path / "tweets.jsonl"
    result = run("write", album, "--output", output)
    broken = str(album / "broken.jpg")
    errors = {row["photo"]: row["error"] for row in rows(output) if "error" in row}
    assert result.exit_code == 1
    assert errors.keys() == {broken}
    assert sum(len(row["tweets"]) == 5 for row in rows(output) if "tweets" in row) == 3
    assert f"tweetcap: {errors[broken]}" in result.stderr.splitlines()
    assert "Traceback" not in result.output
    assert result.stdout == ""


def test_a_name_that_is_not_utf8_neither_stops_the_folder_nor_is_lost(run, lion, tmp_path):
    name = os.fsdecode(b"caf\xe9.jpg")
    try:
        shutil.copy(lion, tmp_path / name)
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    output = tmp_path / "tweets.jsonl"
    for _ in range(2):
        assert run("write", tmp_path, "--output", output).exit_code == 0
    assert [row["photo"] for row in rows(output)] == [str(tmp_path / name)]
    assert run("write", tmp_path, lion).exit_code == 0


@pytest.mark.parametrize("cut", [0, 5, 100, 600, 1500, 2500])
def test_a_run_cut_anywhere_and_run_again_gives_the_file_of_an_uncut_run(run, album, tmp_path, cut):
    whole, resumed = tmp_path / "whole.jsonl", tmp_path / "resumed.jsonl"
    run("write", album, "--seed", 7, "--output", whole)
    resumed.write_bytes(whole.read_bytes()[:cut])
    result = run("write", album, "--seed", 7, "--output", resumed)
    assert cut < len(whole.read_bytes())
    assert result.exit_code == 1
    assert resumed.read_bytes() == whole.read_bytes()


def test_photos_that_have_their_tweets_are_not_written_again(run, album, tmp_path, fake_writer):
    output = tmp_path / "tweets.jsonl"
    run("write", album, "--output", output)
    before, calls = output.read_bytes(), len(fake_writer.calls)
    run("write", album, "--output", output)
    assert output.read_bytes() == before
    assert len(fake_writer.calls) == calls == 3


def test_a_repaired_photo_gets_its_tweets_on_the_next_run(run, album, tmp_path, lion):
    output = tmp_path / "tweets.jsonl"
    run("write", album, "--output", output)
    shutil.copy(lion, album / "broken.jpg")
    for _ in range(2):
        assert run("write", album, "--output", output).exit_code == 0
    broken = [row for row in rows(output) if row["photo"] == str(album / "broken.jpg")]
    assert ["tweets" in row for row in broken] == [False, True]


def test_photos_worked_on_side_by_side_come_in_order_and_as_one_after_the_other(run, album, monkeypatch, fake_writer):
    """The first photo takes longest, and the broken one is an error in its own place."""
    write = fake_writer.write
    threads = set()

    def slow_at_first(photo, **settings):
        threads.add(threading.get_ident())
        time.sleep(0.3 if photo.name == "a.JPG" else 0)
        return write(photo, **settings)

    monkeypatch.setattr(fake_writer, "write", slow_at_first)
    outputs = []
    for cores in (1, 3):
        threads.clear()
        monkeypatch.setattr(torch, "get_num_threads", lambda cores=cores: cores)
        outputs.append(run("write", album, "--seed", 7, "--json").stdout)
        assert len(threads) == 1 if cores == 1 else len(threads) > 1
    names = [Path(json.loads(line)["photo"]).name for line in outputs[0].splitlines()]
    assert names == ["a.JPG", "b.jpg", "broken.jpg", "猫.jpeg"]
    assert outputs[1] == outputs[0]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGINT to a process")
def test_ctrl_c_ends_in_one_sentence_and_the_next_run_completes_the_file(run, album, tmp_path):
    whole, output = tmp_path / "whole.jsonl", tmp_path / "tweets.jsonl"
    run("write", album, "--seed", 7, "--output", whole)
    script = """
import signal, sys, time, types, tweetcap.cli, tweetcap
from tests.fake_writer import FakeWriter
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it in what it starts in the background

class Slow(FakeWriter):
    def write(self, photo, **settings):
        if photo.name != "a.JPG":
            time.sleep(3)
        return super().write(photo, **settings)

tweetcap.TweetWriter = types.SimpleNamespace(from_pretrained=lambda *_, **__: Slow())
tweetcap.cli.main()
"""
    command = [sys.executable, "-c", script, "write", str(album), "--seed", "7", "--output", str(output)]
    process = subprocess.Popen(command, cwd=ROOT, text=True, encoding="utf-8", stderr=subprocess.PIPE)
    while process.poll() is None and not (output.exists() and output.read_bytes().endswith(b"\n")):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    stderr = process.communicate(timeout=600)[1]
    assert process.returncode == 130
    assert stderr.splitlines()[-1] == ("tweetcap: interrupted; run the same command again to go on where it stopped.")
    assert "Traceback" not in stderr
    assert len(rows(output)) == 1
    run("write", album, "--seed", 7, "--output", output)
    assert output.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        (["--temperature", "0.5"], "was written with temperature 1.0 and not 0.5"),
        (["--tone", "大喜利"], "was written with tone None and not 大喜利"),
        (["--seed", "1"], "was written with seed None and not 1"),
        (["--describe"], "was written with describe False and not True"),
    ],
)
def test_a_file_of_other_settings_is_refused_unchanged(run, album, tmp_path, option, sentence):
    output = tmp_path / "tweets.jsonl"
    run("write", album, "--output", output)
    before = output.read_bytes()
    result = run("write", album, "--output", output, *option)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert output.read_bytes() == before


@pytest.mark.parametrize(
    "content", [b"my notes", b"my notes\n", b'{"photo": "x.jpg"}\n', b"[1]\n", b"\xff\xd8\xff\xe0", b"\n"]
)
def test_a_file_of_another_kind_is_refused_unchanged(run, lion, tmp_path, content):
    output = tmp_path / "notes"
    output.write_bytes(content)
    result = run("write", lion, "--output", output)
    assert result.exit_code == 2
    assert "was not written by tweetcap write" in result.stderr
    assert output.read_bytes() == content


def test_with_a_seed_neither_order_nor_company_nor_place_changes_a_photo_s_tweets(run, album, tmp_path, lion):
    def texts(*arguments):
        lines = run("write", *arguments, "--seed", 7, "--json").stdout.splitlines()
        return {Path(row["photo"]).name: row.get("tweets") for row in map(json.loads, lines)}

    moved = tmp_path / "elsewhere"
    shutil.copytree(album, moved)
    folder = texts(album)
    assert texts(moved) == folder
    assert texts(lion, moved, album / "b.jpg")["猫.jpeg"] == folder["猫.jpeg"]
    assert texts(album / "b.jpg")["b.jpg"] == folder["b.jpg"]
    assert folder["b.jpg"] != folder["a.JPG"]  # the same photo under two names


def test_without_a_seed_two_runs_differ(run, lion):
    assert run("write", lion).stdout != run("write", lion).stdout


@pytest.mark.parametrize("name", RANGES)
def test_a_value_out_of_range_is_named_with_its_range(run, lion, name, fake_writer):
    low, high = RANGES[name]
    option = f"--{name.replace('_', '-')}"
    values = [low - 1, high + 1] + (["nan"] if isinstance(low, float) else [])
    for value in values:
        result = run("write", lion, option, value)
        kind = type(low)
        assert result.exit_code == 2
        assert result.stderr == f"tweetcap: {option} is {kind(value)}; it goes from {low} to {high}.\n"
    assert not fake_writer.calls


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere.jpg"], "nowhere.jpg does not exist"),
        (["{lion}", "--tone", "怒り"], "--tone is 怒り; this model knows つぶやき, ツッコミ"),
        (["{empty}"], "holds no photo (.gif, .jpeg, .jpg, .png, .webp)"),
        (["{lion}", "--json", "--output", "x.jsonl"], "choose one of them"),
        (["-", "--output", "x.jsonl"], "- has no name to resume by"),
        (["{lion}", "--output", "{empty}"], "is a folder; --output names a file"),
        (["{lion}", "--output", "{empty}/no/x.jsonl"], "no does not exist; create it"),
    ],
)
def test_a_wrong_command_is_answered_in_one_sentence(run, lion, tmp_path, arguments, sentence, monkeypatch):
    monkeypatch.chdir(tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    result = run("write", *(argument.format(lion=lion, empty=empty) for argument in arguments))
    assert (result.exit_code, result.stdout) == (2, "")
    assert sentence in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "x.jsonl").exists()


def test_a_photo_without_a_publishable_tweet_counts_as_failed(run, lion, fake_writer, monkeypatch):
    monkeypatch.setattr(fake_writer, "write", lambda photo, **settings: [])
    result = run("write", lion, "--json")
    assert result.exit_code == 1
    assert "no candidate passed the filters" in json.loads(result.stdout)["error"]


def test_a_model_that_is_not_there_is_named_in_one_sentence(run, lion, monkeypatch):
    def missing(model, device):
        raise ValueError(f"{model} holds\nno checkpoint")

    monkeypatch.setitem(vars(tweetcap), "TweetWriter", types.SimpleNamespace(from_pretrained=missing))
    result = run("write", lion, "--model", "runs/none")
    assert result.exit_code == 2
    assert result.stderr == "tweetcap: runs/none holds no checkpoint\n"


def test_the_fake_writer_of_these_tests_takes_what_the_real_one_takes():
    from tweetcap import Tweet, TweetWriter

    real, fake = (
        {name: parameter.kind for name, parameter in inspect.signature(kind.write).parameters.items()}
        for kind in (TweetWriter, FakeWriter)
    )
    assert real == fake
    assert list(inspect.signature(Tweet).parameters) == list(inspect.signature(FakeTweet).parameters)
    assert inspect.signature(TweetWriter.describe).parameters.keys() >= {"self", "photo"}


def test_the_module_runs_as_a_command():
    done = subprocess.run(
        [sys.executable, "-m", "tweetcap", "write", "nowhere.jpg"],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == ("tweetcap: nowhere.jpg does not exist; name a photo, a folder, or - for standard input.\n")
