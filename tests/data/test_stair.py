"""STAIR Captions come out the same from folders, zips, a cut run and the builder, and what is missing is named."""

import json
import shutil
from pathlib import Path

import pytest
from datasets import Image, load_dataset

from tests.data.coco_tree import make_tree
from tests.data.file_server import Fault, FileServer, running
from tweetcap.data.stair import StairCaptions, StairConfig, build_stair, coco_url
from tweetcap.data.stair_sources import ANNOTATIONS, PHOTOS, Remote

CARD = "---\nlicense: cc-by-4.0\n---\n# STAIR Captions\n"


@pytest.fixture(scope="module")
def trees(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("coco")
    make_tree(folder / "plain", 12, 6)
    make_tree(folder / "zipped", 12, 6, zipped=True)
    return folder


@pytest.fixture
def plain(trees, tmp_path) -> Path:
    return Path(shutil.copytree(trees / "plain", tmp_path / "plain"))


@pytest.fixture
def build(tmp_path):
    def run(tree: Path, output: str = "out", *, card=CARD, num_proc=1, overwrite=False, rows_per_shard=5, **options):
        options = {"annotations": tree / "captions", "images": tree / "images"} | options
        config = StairConfig(downloads=tmp_path / "downloads", **options)
        more = {"num_proc": num_proc, "overwrite": overwrite, "rows_per_shard": rows_per_shard}
        return build_stair(tmp_path / output, config, card=card, **more)

    return run


@pytest.fixture
def load(tmp_path):
    return lambda name="out": load_dataset(str(tmp_path / name), cache_dir=str(tmp_path / "cache"))


def rows_of(dataset) -> list[dict]:
    return [row | {"image": row["image"].tobytes()} for row in dataset]


def test_a_build_has_a_row_an_image_with_its_captions(trees, build, load):
    built = build(trees / "plain", name="v1.2_tokenized")
    assert built.rows == {"train": 12, "validation": 6} and built.left_out == {}
    row = load()["validation"][0]
    assert row["image"].size == (64, 48)
    assert {name: value for name, value in row.items() if name != "image"} == {
        "image_id": 13,
        "file_name": "COCO_val2014_000000000013.jpg",
        "caption_ids": [130, 131, 132, 133, 134],
        "captions": [f"13番の犬が{nth}回走っている" for nth in range(5)],
        "tokenized_captions": [f"13 番 の 犬 が {nth} 回 走っ て いる" for nth in range(5)],
        "width": 640,
        "height": 480,
        "license": "Attribution-NonCommercial License",
        "license_url": "http://example.com/by-nc/",
        "coco_url": "http://images.cocodataset.org/val2014/COCO_val2014_000000000013.jpg",
        "flickr_url": "http://farm1.staticflickr.com/13.jpg",
    }


def test_folders_zips_and_the_builder_give_the_same_rows(trees, build, load, tmp_path):
    build(trees / "plain", "from-plain")
    build(trees / "zipped", "from-zipped")
    builder = StairCaptions(
        config_name="v1.2",
        annotations=trees / "zipped" / "captions" / "stair_captions_v1.2.tar.gz",
        images=[trees / "zipped" / "images" / name for name in ("train2014.zip", "val2014.zip")],
        downloads=tmp_path / "downloads",
        cache_dir=str(tmp_path / "cache"),
    )
    builder.download_and_prepare()
    for split in ("train", "validation"):
        expected = rows_of(load("from-plain")[split])
        assert "tokenized_captions" not in expected[0]
        assert rows_of(load("from-zipped")[split]) == expected
        assert rows_of(builder.as_dataset(split=split)) == expected
        assert rows_of(builder.as_streaming_dataset(split=split)) == expected


def test_a_row_a_caption_repeats_its_photo(trees, build, load):
    assert build(trees / "plain", rows="caption").rows == {"train": 60, "validation": 30}
    rows = load()["train"]
    assert rows["caption_id"][:6] == [10, 11, 12, 13, 14, 20]
    assert rows[7]["caption"] == "2番の犬が2回走っている" and rows[7]["image"].size == (48, 64)


def test_references_need_no_photo(trees, build, tmp_path, load):
    build(trees / "plain", images=None, photos="reference")
    dataset = load().cast_column("image", Image(decode=False))
    url = "http://images.cocodataset.org/train2014/COCO_train2014_000000000001.jpg"
    assert dataset["train"][0]["image"] == {"bytes": None, "path": url}


def test_missing_and_broken_photos_are_counted_and_named_and_the_rest_is_built(plain, build, tmp_path):
    photos = sorted((plain / "images" / "train2014").iterdir())
    photos[2].unlink()
    photos[4].write_bytes(b"")
    photos[5].write_bytes(photos[5].read_bytes()[:500])
    built = build(plain)
    assert built.rows == {"train": 9, "validation": 6}
    assert built.left_out == {"the photo is missing": 1, "the photo is not a JPEG": 1, "the photo is cut short": 1}
    named = [json.loads(line)["name"] for line in (tmp_path / "out" / "left_out.jsonl").read_text().splitlines()]
    assert named == [photos[number].name for number in (2, 4, 5)]
    shutil.rmtree(plain)
    make_tree(plain, 12, 6)
    assert build(plain).rows == {"train": 12, "validation": 6}


def test_broken_captions_are_reported_with_the_photos(plain, build):
    path = plain / "captions" / "stair_captions_v1.2_train.json"
    content = json.loads(path.read_text())
    content["annotations"] += [{"id": 1}, {"id": 2, "image_id": 999, "caption": "どこにもない"}]
    path.write_text(json.dumps(content))
    built = build(plain)
    assert built.rows["train"] == 12
    assert built.left_out == {"an annotation without image_id and caption": 1, "the image is not in the file": 1}


def test_the_builder_reports_what_it_leaves_out(plain, tmp_path, caplog):
    next((plain / "images" / "train2014").iterdir()).unlink()
    options = {"annotations": plain / "captions", "images": plain / "images", "downloads": tmp_path / "downloads"}
    builder = StairCaptions(cache_dir=str(tmp_path / "cache"), **options)
    builder.download_and_prepare()
    assert len(builder.as_dataset(split="train")) == 11


def test_limit_and_splits_choose_a_part(trees, build, tmp_path):
    assert build(trees / "plain", limit=4, splits=["validation"]).rows == {"validation": 4}
    assert "--split validation --limit 4`" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"name": "v2"}, "name 'v2' is unknown; choose from v1.2, v1.2_tokenized"),
        ({"rows": "photo"}, "rows 'photo' is unknown; choose from image, caption"),
        ({"splits": ["test"]}, "splits 'test' is unknown; choose from train, validation"),
        ({"limit": 0}, "limit is 0"),
        ({"photos": "reference"}, "leave the images out"),
        ({"images": Path("nowhere")}, "nowhere does not exist"),
        ({"annotations": Path("nowhere")}, "nowhere does not exist"),
        ({"name": "v1.0"}, r"has neither stair_captions_v1.0_train.json nor stair_captions_v1.0_train.json"),
    ],
)
def test_what_makes_no_sense_is_said_in_a_sentence(trees, build, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        build(trees / "plain", **options)


def test_the_captions_of_one_split_do_not_pass_for_those_of_the_other(trees, build):
    one = trees / "plain" / "captions" / "stair_captions_v1.2_train.json"
    with pytest.raises(ValueError, match=r"is not stair_captions_v1\.2_val\.json"):
        build(trees / "plain", annotations=one)
    assert build(trees / "plain", annotations=one, splits=["train"]).rows == {"train": 12}


def test_archives_that_are_broken_or_of_another_release_are_refused(trees, build, tmp_path):
    archive = trees / "zipped" / "captions" / "stair_captions_v1.2.tar.gz"
    with pytest.raises(ValueError, match=r"has no stair_captions_v1\.1_train\.json; is it the archive"):
        build(trees / "plain", name="v1.1", annotations=archive)
    (tmp_path / "cut.tar.gz").write_bytes(archive.read_bytes()[:300])
    with pytest.raises(ValueError, match=r"cut\.tar\.gz (is not a whole|holds no captioned image)"):
        build(trees / "plain", annotations=tmp_path / "cut.tar.gz")


def test_without_local_files_both_are_downloaded_and_survive_cuts(trees, build, monkeypatch):
    tree = trees / "zipped"
    with running(FileServer()) as server:
        names = {"train": "train2014.zip", "validation": "val2014.zip"}
        for name in names.values():
            server.files[f"/{name}"] = (tree / "images" / name).read_bytes()
        server.files["/stair_captions_v1.2.tar.gz"] = (tree / "captions" / "stair_captions_v1.2.tar.gz").read_bytes()
        archive = Remote(f"{server.url}/stair_captions_v1.2.tar.gz")
        captions = {split: (archive, member) for split, (_, member) in ANNOTATIONS["v1.2"].items()}
        monkeypatch.setitem(ANNOTATIONS, "v1.2", captions)
        for split, name in names.items():
            monkeypatch.setitem(PHOTOS, split, Remote(f"{server.url}/{name}", len(server.files[f"/{name}"])))
        server.faults_of = {f"/{name}": [Fault(cut_after=5_000), Fault(cut_after=3_000)] for name in names.values()}
        built = build(tree, annotations=None, images=None)
        assert built.rows == {"train": 12, "validation": 6} and built.left_out == {}
        before = len(server.requests)
        build(tree, "again", annotations=None, images=None)
        assert len(server.requests) == before


def test_addresses_follow_the_release_and_not_the_file(tmp_path):
    assert coco_url("COCO_val2014_000000000042.jpg").endswith("/val2014/COCO_val2014_000000000042.jpg")
    assert coco_url("000000000042.jpg") is None


def test_every_release_names_its_files_at_a_fixed_commit():
    for config, splits in ANNOTATIONS.items():
        for split, (remote, member) in splits.items():
            assert len(remote.url.split("/raw/")[1].split("/")[0]) == 40
            assert member.startswith(f"stair_captions_{config.split('_')[0]}_{split[:3]}")
