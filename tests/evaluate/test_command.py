"""The evaluation end to end, on photos drawn here and a writer whose answers are known."""

import csv
import json

import pytest

from tests.evaluate.known_writer import KnownWriter, read_rows, save_rows
from tweetcap.evaluate import command
from tweetcap.evaluate.command import evaluate


@pytest.fixture
def output(tmp_path, monkeypatch):
    """Where figures go; the pages take most of the time and have tests of their own."""
    monkeypatch.setattr(command, "save_report", lambda path, **parts: None)
    monkeypatch.setattr(command, "save_contact_sheets", lambda *parts: [])
    return tmp_path / "output"


def metrics(folder) -> dict:
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


def values(folder) -> dict:
    return {name: row["value"] for name, row in metrics(folder)["figures"].items()}


def test_the_figures_are_those_of_the_writer(corpus, writer, output):
    printed = evaluate(corpus=corpus, output=output)
    found = values(output)
    assert found["説明 names the right animal"] == 0.5  # a dog, a cat; the third shows no animal
    assert found["説明 names a wrong animal"] == 0.5
    assert found["tweets that name an animal"] == 1
    assert found["tweets that name a wrong animal"] == 0.5
    assert found["witty tweets: nats a word with the photo"] == 2
    assert found["witty tweets: nats a word with the null image"] == 3
    assert found["plain tweets: gain by the photo"] == 1
    assert found["the own photo ranks first among 3 by its caption"] == 1
    assert found["photos with 5 different tweets"] == 1
    assert found["candidates dropped: copy"] == 2 / 8
    assert found["candidates that pass every filter"] == 5 / 8
    assert found["gain of a tweet by the photo, nats, the writer's own"] == 0.5
    assert 0 < found["説明: BLEU-1"] < 100 and 0 < found["説明: CIDEr-D"] < 10
    assert all(name in printed for name in found)


def test_every_figure_says_its_interval_and_the_file_says_how_it_was_measured(corpus, writer, output):
    evaluate(corpus=corpus, output=output)
    written = metrics(output)
    for row in written["figures"].values():
        assert row["interval"] in ("bootstrap", "jackknife")
        assert row["value"] is None or row["low"] is None or row["low"] <= row["value"] <= row["high"]
    assert "unidic-lite" in written["method"]["tokenisation"] and "sacrebleu" in written["method"]["BLEU"]
    assert written["model"] == "embedded" and written["revision"].startswith("sha256:")
    with (output / "metrics.csv").open(encoding="utf-8", newline="") as file:
        assert {row["figure"] for row in csv.DictReader(file)} == written["figures"].keys()
    assert (output / "table.md").read_text(encoding="utf-8").count("\n|") == len(written["figures"]) + 1


def test_a_cut_run_goes_on_to_the_same_figures(corpus, writer, output, tmp_path):
    evaluate(corpus=corpus, output=output)
    rows = (output / "predictions.jsonl").read_bytes().splitlines(keepends=True)
    cut = tmp_path / "cut"
    cut.mkdir()
    (cut / "predictions.jsonl").write_bytes(rows[0] + rows[1][:30])
    evaluate(corpus=corpus, output=cut)
    timed = {name for name in values(output) if name.startswith("time")}
    assert {k: v for k, v in values(cut).items() if k not in timed} == {
        k: v for k, v in values(output).items() if k not in timed
    }


def test_predictions_scored_later_give_the_figures_of_the_run_that_drew_them(corpus, writer, output, tmp_path):
    evaluate(corpus=corpus, output=output)
    later = tmp_path / "later"
    evaluate(corpus=corpus, output=later, predictions=output / "predictions.jsonl", model="runs/any")
    assert values(later) == values(output)
    evaluate(corpus=corpus, output=later, predictions=output / "predictions.jsonl")
    without_model = values(later)
    assert not any("nats a word" in name or "ranks first" in name for name in without_model)
    assert without_model.items() <= values(output).items()


def test_another_system_s_predictions_need_no_model_and_no_corpus(corpus, tmp_path, output, monkeypatch):
    monkeypatch.setattr(command.TweetWriter, "from_pretrained", lambda model=None: pytest.fail("no model is needed"))
    rows = [
        {"photo": f"photos/p{n}.jpg", "tweets": [f"猫が{n}匹", "走った"], "description": "猫がいる"} for n in (1, 2, 3)
    ]
    theirs = save_rows(tmp_path / "theirs.jsonl", rows)
    evaluate(corpus=corpus, predictions=theirs, output=output)
    found = values(output)
    assert found["説明 names the right animal"] == 0.5 and "説明: CIDEr-D" in found
    evaluate(predictions=theirs, output=output)
    alone = values(output)
    assert "説明: CIDEr-D" not in alone and alone["distinct-1"] == found["distinct-1"]


def test_references_in_the_rows_serve_where_no_corpus_is_given(corpus, writer, output, tmp_path):
    evaluate(corpus=corpus, output=output)
    alone = tmp_path / "alone"
    evaluate(predictions=output / "predictions.jsonl", output=alone)
    for name in (
        "説明: BLEU-4",
        "tweets: chrF",
        "説明 names the right animal",
        "Self-CIDEr of the tweets of one photo",
    ):
        assert values(alone)[name] == values(output)[name]


def test_a_tweet_that_training_contains_is_a_copy(corpus, writer, output):
    rows = read_rows(corpus / "starter.jsonl")
    evaluate(corpus=corpus, output=output)
    copied = read_rows(output / "predictions.jsonl")[0]["tweets"][3]["text"]
    rows[0]["tweets"][0]["text"] = copied + "！"
    save_rows(corpus / "starter.jsonl", rows)
    evaluate(corpus=corpus, output=output)
    assert values(output)["copies of a training text among 15 tweets"] == 1
    assert values(output)["tweets that are no training text"] == pytest.approx(14 / 15)


def test_sheets_hold_every_photo(corpus, writer, tmp_path):
    output = tmp_path / "whole"
    evaluate(corpus=corpus, output=output, count=2)
    with (output / "contact_sheet.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["photo_id"] for row in rows] == ["p1"] * 3 + ["p2"] * 3 + ["p3"] * 3
    assert rows[0]["text"] == "犬がいる" and rows[1]["grounding"] == "0.5"
    assert (output / "contact_sheet_01.png").read_bytes().startswith(b"\x89PNG")


def test_only_so_many_photos_are_taken_as_asked(corpus, writer):
    printed = evaluate(corpus=corpus, photos=1)
    assert printed.startswith("1 validation photos, 5 tweets a photo, model embedded, seed 0")


def test_a_model_that_only_learned_captions_is_described_only(corpus, writer, output):
    evaluate(corpus=corpus, output=output, describe_only=True)
    assert writer.written == 0
    assert "説明: BLEU-4" in values(output) and "distinct-1" not in values(output)


def test_only_photos_whose_ids_are_given_are_taken(corpus, writer, output, tmp_path):
    (tmp_path / "ids.txt").write_text("p3\np1\nx9\n\n")
    said = []
    evaluate(corpus=corpus, only=tmp_path / "ids.txt", output=output, say=said.append)
    assert [row["photo_id"] for row in read_rows(output / "predictions.jsonl")] == ["p1", "p3"]
    assert len(said) == 1 and "3 photos, of which 1 are not in the split" in said[0]
    (tmp_path / "ids.txt").write_text("x9\n")
    with pytest.raises(ValueError, match="none of the 3 photos; ids look like p1"):
        evaluate(corpus=corpus, only=tmp_path / "ids.txt")


def test_two_systems_are_compared_on_the_photos_that_both_have(corpus, writer, output, tmp_path):
    evaluate(corpus=corpus, output=output)
    rows = read_rows(output / "predictions.jsonl")[:2]
    for row in rows:
        row["description"] = f"{row['species']}が庭にいる"
    theirs = save_rows(tmp_path / "theirs.jsonl", rows)
    said = []
    printed = evaluate(
        corpus=corpus, output=output, predictions=output / "predictions.jsonl", against=theirs, say=said.append
    )
    assert f"Against {theirs}" in printed
    assert any("lacks 1 of the 3 photos" in sentence for sentence in said)
    compared = metrics(output)["comparison"]
    assert compared["説明 names the right animal"]["difference"] == -0.5
    assert compared["説明: BLEU-4"]["theirs"] == pytest.approx(100)
    assert compared["distinct-1"]["p"] == 1  # the tweets are the same
    assert all(row["p_holm"] is None or row["p_holm"] >= row["p"] for row in compared.values())
    assert not any(name.startswith("time") for name in compared)


def test_a_better_system_is_called_better_and_a_worse_one_worse(tmp_path, output):
    def system(name, animal):
        references = {"captions": ["犬が庭を走っている"], "tweets": []}
        rows = [
            {"photo_id": str(n), "species": "犬", "description": f"{animal}が庭を走っている", "references": references}
            for n in range(30)
        ]
        return save_rows(tmp_path / name, rows)

    good, bad = system("good.jsonl", "犬"), system("bad.jsonl", "猫")
    for ours, theirs, verdict in ((good, bad, "better"), (bad, good, "worse")):
        evaluate(predictions=ours, against=theirs, output=output)
        compared = metrics(output)["comparison"]
        assert compared["説明 names the right animal"]["verdict"] == verdict
        assert compared["説明 names a wrong animal"]["verdict"] == verdict
        assert compared["説明: BLEU-4"]["verdict"] == verdict


def test_a_dataset_of_captions_is_described_only(corpus, writer, output, tmp_path):
    from datasets import Dataset, Features, Image, List, Value

    rows = [
        {
            "image": {"bytes": (corpus / f"photos/p{n}.jpg").read_bytes(), "path": f"p{n}.jpg"},
            "captions": ["犬がいる", "犬だ"],
        }
        for n in (1, 2)
    ]
    features = Features({"image": Image(decode=False), "captions": List(Value("string"))})
    Dataset.from_list(rows, features=features).to_parquet(tmp_path / "validation.parquet")
    printed = evaluate(dataset=tmp_path / "validation.parquet", output=output)
    found = values(output)
    assert printed.startswith("2 validation photos, model embedded")
    assert found["説明: BLEU-1"] == pytest.approx(100) and found["captions: nats a word with the photo"] > 0
    assert not any("tweet" in name for name in found)
    assert writer.written == 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "nothing to evaluate on"),
        ({"corpus": "a", "dataset": "b"}, "choose one"),
        ({"predictions": "a", "model": "b"}, "need the photos"),
        ({"corpus": "nowhere"}, "nowhere"),
        ({"predictions": "a", "only": "b"}, "choose among photos"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_in_one_sentence(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        evaluate(**options)


def test_predictions_of_other_photos_are_refused(corpus, tmp_path):
    theirs = save_rows(tmp_path / "theirs.jsonl", [{"photo_id": "x9", "description": "犬"}])
    with pytest.raises(ValueError, match="no prediction for any of the 3 photos"):
        evaluate(corpus=corpus, predictions=theirs)


def test_a_broken_photo_is_told_in_the_page_and_the_others_are_scored(corpus, writer, tmp_path):
    output = tmp_path / "whole"
    (corpus / "photos" / "p2.jpg").write_bytes(b"\xff\xd8\xff")
    said = []
    evaluate(corpus=corpus, output=output, say=said.append)
    assert len(said) == 1 and "p2" in said[0]
    assert metrics(output)["photos"] == 2 and any("p2" in sentence for sentence in metrics(output)["left_out"])
    assert "p2" in (output / "report.html").read_text(encoding="utf-8")


def test_the_known_writer_of_these_tests_takes_what_the_real_one_takes():
    import inspect

    from tweetcap import TweetWriter

    for name in ("write", "describe", "encode", "log_likelihoods"):
        real, known = (inspect.signature(getattr(kind, name)).parameters.keys() for kind in (TweetWriter, KnownWriter))
        assert known <= real
