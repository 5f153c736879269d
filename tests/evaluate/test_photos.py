"""The photos of a corpus folder and of a dataset in Parquet."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset, Features, Image, List, Value, load_dataset
from torchvision.io import encode_jpeg

from tests.data.coco_tree import make_tree
from tests.evaluate.known_writer import save_rows
from tweetcap.data.photo import PhotoError, load_photo
from tweetcap.data.stair import StairConfig, build_stair
from tweetcap.evaluate.photos import read_corpus, read_dataset


def grey(level: int) -> bytes:
    return encode_jpeg(torch.full((3, 32, 32), level, dtype=torch.uint8)).numpy().tobytes()


@pytest.fixture
def stair(tmp_path):
    """A dataset as `tweetcap dataset build stair` makes it: image, captions, several row groups and files."""
    features = Features({"image_id": Value("int64"), "image": Image(decode=False), "captions": List(Value("string"))})

    def split(first: int, count: int) -> Dataset:
        rows = [
            {
                "image_id": number,
                "image": {"bytes": grey(10 * number), "path": f"COCO_{number}.jpg"},
                "captions": [f"{number}匹の犬がいる", f"犬が{number}匹", f"犬が{number}匹"],
            }
            for number in range(first, first + count)
        ]
        return Dataset.from_list(rows, features=features)

    data = tmp_path / "stair" / "data"
    data.mkdir(parents=True)
    for name, first in (
        ("validation-00000-of-00002", 0),
        ("validation-00001-of-00002", 3),
        ("train-00000-of-00001", 6),
    ):
        split(first, 3).to_parquet(data / f"{name}.parquet", batch_size=2)
    return tmp_path / "stair"


def test_a_corpus_gives_its_photos_with_all_references(corpus):
    captions = [("p0", "train", "芝生の犬"), ("p1", "validation", "庭の犬")]
    rows = [{"photo_id": p, "photo": f"photos/{p}.jpg", "split": s, "captions": [c]} for p, s, c in captions]
    save_rows(corpus / "human_captions.jsonl", rows)
    photos = read_corpus(corpus, "validation")
    assert [photo.photo for photo in photos] == ["photos/p1.jpg", "photos/p2.jpg", "photos/p3.jpg"]
    assert photos[0].captions == ("犬が庭にいる", "庭の犬")
    assert photos[0].tweets[1].text == "終電を逃した1人"
    assert load_photo(photos.open(photos[0])).shape == (3, 48, 64)
    assert {"犬が庭にいる", "芝生の犬"} <= set(photos.training_texts())


def test_a_dataset_gives_the_same_rows_as_load_dataset(stair, tmp_path):
    photos = read_dataset(stair, "validation")
    rows = load_dataset(str(stair), split="validation", cache_dir=str(tmp_path)).cast_column(
        "image", Image(decode=False)
    )
    assert [photo.photo_id for photo in photos] == [str(row["image_id"]) for row in rows] == list("012345")
    assert [photo.photo for photo in photos] == [row["image"]["path"] for row in rows]
    assert photos[1].captions == ("1匹の犬がいる", "犬が1匹")
    assert photos[1].species is None and photos[1].tweets == ()
    for photo, row in zip(reversed(photos), reversed(list(rows)), strict=True):  # in whatever order
        assert photos.open(photo) == row["image"]["bytes"]


def test_a_dataset_s_training_texts_are_those_of_its_train_split(stair):
    assert list(read_dataset(stair, "validation").training_texts())[:2] == ["6匹の犬がいる", "犬が6匹"]
    assert list(read_dataset(stair, "train").training_texts()) == []


def test_one_parquet_file_is_a_dataset(stair):
    file = stair / "data" / "validation-00001-of-00002.parquet"
    assert [photo.photo_id for photo in read_dataset(file, "test")] == ["3", "4", "5"]


def test_collected_tweets_are_references_without_a_label(tmp_path):
    rows = [
        {"post_id": "7", "image": {"bytes": grey(5), "path": "walk.jpg"}, "text": "散歩なう", "tone": None},
        {"post_id": "7", "image": {"bytes": None, "path": "gone.jpg"}, "text": "散歩なう", "tone": "ほっこり"},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "test.parquet")
    photos = read_dataset(tmp_path / "test.parquet", "test")
    assert [photo.photo_id for photo in photos] == ["7", "7-2"]  # a post with two photos
    assert photos[0].tweets[0].text == "散歩なう" and photos[0].tweets[0].tone == "つぶやき"
    assert photos[1].tweets[0].tone == "ほっこり"
    assert load_photo(photos.open(photos[0])).shape == (3, 32, 32)
    with pytest.raises(PhotoError, match=r"gone\.jpg has no bytes"):
        photos.open(photos[1])


def test_what_is_no_dataset_is_refused_in_one_sentence(stair, tmp_path):
    with pytest.raises(ValueError, match="no Parquet in the split 'test'; it has train, validation"):
        read_dataset(stair, "test")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="is no dataset"):
        read_dataset(tmp_path / "empty", "test")
    with pytest.raises(ValueError, match="neither a folder nor a Parquet file"):
        read_dataset(tmp_path / "nowhere", "test")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and nothing more")
    with pytest.raises(ValueError, match="is not Parquet"):
        read_dataset(tmp_path / "broken.parquet", "test")
    Dataset.from_list([{"text": "写真がない"}]).to_parquet(tmp_path / "texts.parquet")
    with pytest.raises(ValueError, match="image and captions are needed"):
        read_dataset(tmp_path / "texts.parquet", "test")


def test_rows_of_one_photo_are_one_photo(tmp_path):
    image = {"bytes": grey(5), "path": "7.jpg"}
    rows = [{"image_id": n, "image": image, "caption": f"犬{n}の{k}"} for n in (7, 8) for k in (1, 2)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "validation.parquet")
    photos = read_dataset(tmp_path / "validation.parquet", "validation")
    assert [(photo.photo_id, photo.captions) for photo in photos] == [
        ("7", ("犬7の1", "犬7の2")),
        ("8", ("犬8の1", "犬8の2")),
    ]


def test_what_dataset_build_stair_makes_is_read(tmp_path):
    tree = make_tree(tmp_path / "coco", 2, 3)
    config = StairConfig(annotations=tree / "captions", images=tree / "images", downloads=tmp_path / "downloads")
    build_stair(tmp_path / "stair", config, card="---\nlicense: cc-by-4.0\n---\n")
    photos = read_dataset(tmp_path / "stair", "validation")
    assert [photo.photo_id for photo in photos] == ["3", "4", "5"]
    assert all(len(photo.captions) == 5 for photo in photos)
    assert photos[0].photo == "COCO_val2014_000000000003.jpg"
    assert load_photo(photos.open(photos[2])).shape[0] == 3
    assert len(list(photos.training_texts())) == 10
