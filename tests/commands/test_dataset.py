"""`tweetcap dataset`: what was asked for is written, what is missing is said, and each ending has its exit code."""

import json
from pathlib import Path

import pytest
from datasets import load_dataset
from typer.testing import CliRunner

from tests.data.coco_tree import make_tree
from tests.data.file_server import FileServer, running
from tests.data.test_starter_photos import FILES, address, write_texts
from tweetcap.commands import dataset
from tweetcap.data import download, publish, shards


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def command(*arguments: object):
        return CliRunner().invoke(dataset.app, [str(argument) for argument in arguments])

    return command


@pytest.fixture
def coco(tmp_path) -> Path:
    return make_tree(tmp_path / "coco", 5, 3)


@pytest.fixture
def stair(run, coco):
    local = ("--annotations", coco / "captions", "--downloads", coco / "downloads")
    return lambda *more: run("build", "stair", "--output", "out", *local, *more)


def test_every_command_is_there_and_explains_itself(run):
    for group, commands in {
        (): ["build", "hydrate", "push", "dehydrate", "forget", "refresh"],
        ("build",): ["stair", "starter", "tweets"],
        ("hydrate",): ["starter", "posts"],
    }.items():
        text = run(*group, "--help").output
        for name in commands:
            assert f" {name} " in text
            assert run(*group, name, "--help").exit_code == 0


def test_stair_is_built_with_its_card(stair, coco, tmp_path):
    result = stair("--images", coco / "images", "--config", "v1.2_tokenized")
    assert result.exit_code == 0, result.output
    assert result.output == "out: train 5, validation 3 rows.\n"
    corpus = load_dataset("out", cache_dir=str(tmp_path / "cache"))
    assert len(corpus["train"][0]["tokenized_captions"]) == 5
    assert publish.check_folder(Path("out")).data.license == "cc-by-4.0"
    again = stair("--images", coco / "images", "--config", "v1.2_tokenized")
    assert again.output == "out: train 5, validation 3 rows (2 of 2 files were there).\n"


def test_stair_with_missing_photos_says_which_and_ends_with_1(stair, coco):
    (coco / "images" / "val2014" / "COCO_val2014_000000000007.jpg").unlink()
    result = stair("--images", coco / "images")
    assert result.exit_code == 1
    assert "left out, the photo is missing: 1" in result.output
    assert "such as COCO_val2014_000000000007.jpg; all of them are in out/left_out.jsonl" in result.output


def test_stair_takes_references_rows_splits_and_limits(stair):
    result = stair("--reference", "--rows", "caption", "--split", "validation", "--limit", "2")
    assert (result.exit_code, result.output) == (0, "out: validation 10 rows.\n")


@pytest.mark.parametrize(
    "options, sentence",
    [
        (["--config", "v9"], "name 'v9' is unknown; choose from v1.2, "),
        (["--rows", "word"], "rows 'word' is unknown"),
        (["--split", "test"], "splits 'test' is unknown; choose from train, validation."),
        (["--images", "nowhere"], "nowhere does not exist"),
        (["--images", "coco/images", "--reference"], "leave the images out"),
    ],
)
def test_what_cannot_be_built_is_said_in_a_sentence(stair, options, sentence):
    result = stair(*(options if "--images" in options else [*options, "--images", "coco/images"]))
    assert result.exit_code == 2
    assert sentence in result.output and result.output.startswith("tweetcap: ")
    assert len(result.output.splitlines()) == 1


def test_other_settings_are_refused_until_overwritten(stair):
    assert stair("--images", "coco/images").exit_code == 0
    refused = stair("--images", "coco/images", "--limit", "2")
    assert refused.exit_code == 2
    assert (
        refused.output
        == "tweetcap: out was built with limit None and not 2; choose another folder or add --overwrite.\n"
    )
    assert stair("--images", "coco/images", "--limit", "2", "--overwrite").exit_code == 0


def test_an_interrupted_build_says_how_to_go_on(stair, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(shards, "_write_shard", interrupt)
    result = stair("--images", "coco/images")
    assert result.exit_code == 130
    assert "run the same command again" in result.output
    monkeypatch.undo()


@pytest.fixture
def hydrate(run, tmp_path, monkeypatch):
    monkeypatch.setattr(download.time, "sleep", lambda seconds: None)
    texts = write_texts(tmp_path / "texts")
    with running(FileServer()) as server:
        server.files = {address(number): data for number, data in enumerate(FILES)}
        url = f"{server.url}/raw/{{repository}}/{{commit}}/{{path}}"
        options = ("--output", "corpus", "--texts", texts, "--source-url", url, "--at-once", 2)
        yield server, lambda *more: run("hydrate", "starter", *options, *more)


def test_the_starter_is_hydrated_and_built(run, hydrate, tmp_path):
    server, starter = hydrate
    del server.files[address(3)]
    result = starter()
    assert result.exit_code == 1
    assert "corpus: 11 photos, 11 of them fetched now." in result.output
    assert (
        "missing, gone (404): 1" in result.output and "p0003; all of them are in corpus/missing.jsonl" in result.output
    )
    assert json.loads(Path("corpus/missing.jsonl").read_text())["reason"] == "gone (404)"
    server.files[address(3)] = FILES[3]
    result = starter()
    assert (result.exit_code, result.output) == (0, "corpus: 12 photos, 1 of them fetched now.\n")
    built = run("build", "starter", "--corpus", "corpus", "--output", "out")
    assert (built.exit_code, built.output) == (0, "out: train 6, validation 3, test 3 rows.\n")
    assert load_dataset("out", cache_dir=str(tmp_path / "cache"))["train"][0]["image"].size == (64, 48)


def test_a_dataset_with_photos_is_not_pushed(run, hydrate):
    hydrate[1]()
    run("build", "starter", "--corpus", "corpus", "--output", "out")
    result = run("push", "out", "org/name")
    assert result.exit_code == 2
    assert result.output.startswith("tweetcap: out holds photos that stay under their owners' terms")
    assert (
        run("push", "nowhere", "org/name").output
        == "tweetcap: nowhere is not a folder; name the folder of a dataset.\n"
    )


def test_the_published_texts_of_the_starter_may_be_pushed():
    assert publish.check_folder(dataset.CARDS / "animal_tweets_starter").data.license == "cc0-1.0"
