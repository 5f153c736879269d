"""`tweetcap survey`: from photos and predictions to tables, with one sentence for whatever is wrong."""

import random
import re
import socket

import pytest
from typer.testing import CliRunner

from tests.made_study import make_photos, make_sources, make_study
from tweetcap.commands.survey import app
from tweetcap.evaluate.survey.ratings import RatingStore
from tweetcap.evaluate.survey.study import read_study, read_systems

QUESTIONS = ("natural", "fits", "funny", "like")


def run(*arguments, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.output


@pytest.fixture
def systems(tmp_path) -> list[str]:
    """Return the options that name photos and three systems, as the study of 2021 has them."""
    names = make_photos(tmp_path / "photos", 4)
    sources = make_sources(tmp_path, names, ("stair", "tweetcap", "human"))
    options = ["--photos", str(tmp_path / "photos")]
    return [*options, *(part for source in sources for part in ("--system", f"{source.name}={source.path}"))]


def rated(folder, raters: int = 1):
    store, rng = RatingStore(folder), random.Random(0)
    for _ in range(raters):
        token = store.start("ja")
        while (progress := store.show(token)).task is not None:
            store.answer(token, progress.position, {question: rng.randint(1, 5) for question in QUESTIONS})
    return store, token


def test_create_makes_a_study_and_says_what_it_is(tmp_path, systems):
    output = run("create", *systems, "--output", tmp_path / "study", "--items-per-rater", 2, "--seed", 1)
    assert "4 photos × 3 systems, rating mode; 4 tasks a rater; every 6 raters" in output
    assert f"tweetcap survey serve {tmp_path / 'study'}" in output
    assert sorted(read_systems(tmp_path / "study").values()) == ["human", "stair", "tweetcap"]


def test_the_template_is_the_study_of_2021_and_options_beside_it_win(tmp_path, systems):
    run("create", *systems, "--output", tmp_path / "study", "--template", "2021")
    study = read_study(tmp_path / "study")
    assert (study.mode, study.raters) == ("rating", 35)
    assert [question.name for question in study.questions] == ["natural", "fits", "funny", "like"]
    run("create", *systems, "--output", tmp_path / "more", "--template", "2021", "--raters", 70)
    assert read_study(tmp_path / "more").raters == 70
    output = run("create", *systems[:4], "--output", tmp_path / "less", "--template", "2021", code=2)
    assert "give --system stair=FILE.jsonl --system tweetcap=FILE.jsonl --system human=FILE.jsonl" in output


def test_title_and_consent_are_the_owner_s_where_given(tmp_path, systems):
    (tmp_path / "consent.txt").write_text("同意します", encoding="utf-8")
    options = ["--title", "en=Cats", "--consent", f"ja={tmp_path / 'consent.txt'}"]
    run("create", *systems, "--output", tmp_path / "study", *options)
    study = read_study(tmp_path / "study")
    assert study.title["en"] == "Cats"
    assert study.consent["ja"] == "同意します"
    assert study.consent["en"].startswith("You will see photos")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--mode", "stars"], "the mode is stars; choose rating or pairwise."),
        (["--template", "1999"], "--template is 1999; there is 2021."),
        (["--title", "fr=Chats"], "--title fr=Chats: write it as ja=… or en=…."),
        (["--consent", "ja=nowhere.txt"], "nowhere.txt can't be read"),
        (["--system", "x"], "--system x: write it as NAME=FILE.jsonl"),
    ],
)
def test_a_wrong_option_is_one_sentence_and_makes_nothing(tmp_path, systems, options, sentence):
    assert sentence in run("create", *systems, "--output", tmp_path / "study", *options, code=2)
    assert not (tmp_path / "study").exists()


def test_status_counts_raters_and_knows_genuine_codes(tmp_path):
    make_study(tmp_path, raters=2)
    assert "nobody has rated yet" in run("status", tmp_path / "study", code=2)
    store, token = rated(tmp_path / "study")
    store.start("ja")
    output = run("status", tmp_path / "study")
    assert re.search(r"state +full", output)
    assert "1 finished, 1 under way, 0 gave up" in output
    assert "3 cells, 0 to 1 raters in each" in output
    assert "is genuine" in run("status", tmp_path / "study", "--code", store.show(token).code)
    assert "is no code of this study" in run("status", tmp_path / "study", "--code", "AAAA", code=1)


def test_close_and_reopen_take_effect_at_once(tmp_path):
    make_study(tmp_path)
    rated(tmp_path / "study")
    assert "closed" in run("close", tmp_path / "study")
    assert re.search(r"state +closed", run("status", tmp_path / "study"))
    run("close", tmp_path / "study", "--reopen")
    assert re.search(r"state +open", run("status", tmp_path / "study"))


def test_export_writes_the_tables_and_pushes_nothing_unasked(tmp_path):
    make_study(tmp_path)
    rated(tmp_path / "study", raters=2)
    assert "56 answers of 2 raters" in run("export", tmp_path / "study")
    files = sorted(path.name for path in (tmp_path / "study" / "export").iterdir())
    assert files == ["README.md", "raters.csv", "raters.parquet", "ratings.csv", "ratings.parquet"]
    assert "--public is for --push" in run("export", tmp_path / "study", "--public", code=2)


def test_a_push_is_private_unless_it_is_said_to_be_public(tmp_path, monkeypatch):
    pushed = []

    def push_dataset(folder, repo_id, *, private):
        pushed.append((repo_id, private, sorted(path.name for path in folder.iterdir())))
        return f"https://huggingface.co/datasets/{repo_id}", None

    monkeypatch.setattr("tweetcap.data.publish.push_dataset", push_dataset)
    make_study(tmp_path)
    rated(tmp_path / "study")
    assert "datasets/me/ratings" in run("export", tmp_path / "study", "--push", "me/ratings")
    run("export", tmp_path / "study", "--push", "me/ratings", "--public")
    assert [(name, private) for name, private, _ in pushed] == [("me/ratings", True), ("me/ratings", False)]
    assert not any(name.endswith((".json", ".sqlite3", ".jpg")) for name in pushed[0][2])


def test_an_offline_hub_is_a_sentence(tmp_path):
    make_study(tmp_path)
    rated(tmp_path / "study")
    assert "switched off by HF_HUB_OFFLINE" in run("export", tmp_path / "study", "--push", "me/ratings", code=2)


def test_power_says_how_many_raters_and_learns_from_a_pilot(tmp_path):
    output = run("power", "--difference", 0.4)
    assert re.fullmatch(r"any question\t\d+ raters\n", output)
    assert "difference is -1.0" in run("power", "--difference", -1, code=2)
    assert "no number of raters" in run("power", "--difference", 0.05, "--items", 2, code=2)
    make_study(tmp_path)
    rated(tmp_path / "study", raters=9)
    # So large a difference on so many photos that chance in so small a pilot does not matter.
    lines = run("power", "--difference", 3, "--items", 2000, "--pilot", tmp_path / "study").splitlines()
    assert sorted(line.split("\t")[0] for line in lines) == sorted(QUESTIONS)


def test_serve_names_what_keeps_it_from_serving(tmp_path):
    assert "holds no study.json" in run("serve", tmp_path, code=2)
    make_study(tmp_path)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert f"cannot be served at 127.0.0.1:{port}" in run("serve", tmp_path / "study", "--port", port, code=1)
