"""The corpus reader, on a corpus of three photos made here."""

import gzip
import json

import pytest

from tweetcap.data.starter import (
    read_casual,
    read_human_captions,
    read_starter,
    read_training_texts,
    read_unpaired,
)


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def corpus(tmp_path):
    (tmp_path / "photos").mkdir()
    starter, human = [], []
    for number, split in enumerate(("train", "train", "test")):
        name = f"photos/p{number}.jpg"
        (tmp_path / name).touch()
        row = {"photo_id": f"p{number}", "photo": name, "split": split}
        tweets = [{"tone": "つぶやき", "style": "plain", "text": f"つぶやき{number}"}]
        starter.append(row | {"species": "犬", "caption": f"説明{number}", "tweets": tweets})
        human.append(row | {"captions": [f"説明{number}", f"人の説明{number}"]})
    write_rows(tmp_path / "starter.jsonl", starter)
    write_rows(tmp_path / "human_captions.jsonl", human)
    write_rows(tmp_path / "unpaired_captions.jsonl", [{"coco_image_id": 1, "caption": "別の写真"}])
    with gzip.open(tmp_path / "casual_text.txt.gz", "wt", encoding="utf-8") as file:
        file.write("こんにちは\n\nそうですね\n")
    return tmp_path


def test_a_photo_comes_with_its_own_and_its_human_captions_each_once(corpus):
    photo = read_starter(corpus, "train")[1]
    assert (photo.photo_id, photo.path, photo.species) == ("p1", corpus / "photos/p1.jpg", "犬")
    assert photo.captions == ("説明1", "人の説明1")
    assert photo.tweets == (("つぶやき", "plain", "つぶやき1"),)


def test_nothing_of_a_test_photo_reaches_training(corpus):
    assert [photo.photo_id for photo in read_human_captions(corpus, "train")] == ["p0", "p1"]
    assert not any("2" in text for text in read_training_texts(corpus))


def test_training_texts_are_all_that_training_reads(corpus):
    texts = {"説明0", "人の説明0", "つぶやき0", "説明1", "人の説明1", "つぶやき1"}
    assert set(read_training_texts(corpus)) == texts | {"別の写真", "こんにちは", "そうですね"}


def test_text_without_photos_is_read_line_by_line(corpus):
    assert read_unpaired(corpus) == ["別の写真"]
    assert read_casual(corpus) == ["こんにちは", "そうですね"]


def test_a_corpus_may_come_without_human_captions(corpus):
    (corpus / "human_captions.jsonl").unlink()
    assert read_starter(corpus, "test")[0].captions == ("説明2",)


@pytest.mark.parametrize(
    ("split", "message"),
    [("val", "choose one of train, validation, test"), ("validation", "no photo in the split")],
)
def test_a_split_that_is_not_there_is_named(corpus, split, message):
    with pytest.raises(ValueError, match=message):
        read_starter(corpus, split)


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"has no starter.jsonl; give the folder of the starter corpus"):
        read_starter(tmp_path, "train")


def test_a_missing_photo_and_a_broken_line_are_named(corpus):
    (corpus / "photos/p0.jpg").unlink()
    with pytest.raises(ValueError, match=r"p0.jpg is missing"):
        read_starter(corpus, "train")
    (corpus / "unpaired_captions.jsonl").write_text('{"caption": "犬"}\n{"capt\n')
    with pytest.raises(ValueError, match="line 2 is not JSON"):
        read_unpaired(corpus)
    (corpus / "casual_text.txt.gz").write_bytes(b"plain")
    with pytest.raises(ValueError, match="not gzipped"):
        read_casual(corpus)
