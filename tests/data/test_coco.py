"""COCO's JSON is read as a stream to the same end as `json.load`, and what is broken in it is named."""

import io
import json
import zipfile
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.data.coco_tree import captions_json, make_photo
from tweetcap.data import coco
from tweetcap.data.coco import BrokenJsonError, CocoIndex, PhotoFiles, build_index, build_zip_index, read_arrays
from tweetcap.data.zips import read_member, zip_members

PHOTO = make_photo(64, 48)


def stream(text: bytes, names=("images", "annotations")) -> list:
    return list(read_arrays(io.BytesIO(text), set(names)))


def index_of(path, text: str | bytes | dict) -> CocoIndex:
    data = json.dumps(text).encode() if isinstance(text, dict) else text.encode() if isinstance(text, str) else text

    @contextmanager
    def opened():
        yield io.BytesIO(data)

    build_index(path, opened)
    return CocoIndex(path)


def all_images(index: CocoIndex) -> list:
    return list(index.images(range(len(index))))


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    content=st.fixed_dictionaries(
        {
            "images": st.lists(json_values, max_size=6),
            "info": json_values,
            "annotations": st.lists(json_values, max_size=6),
        }
    ),
    piece=st.integers(1, 40),
    indent=st.sampled_from([None, 1]),
    ascii_only=st.booleans(),
)
def test_a_stream_in_pieces_of_any_size_gives_what_json_load_gives(content, piece, indent, ascii_only):
    text = json.dumps(content, indent=indent, ensure_ascii=ascii_only).encode()
    before, coco.CHUNK = coco.CHUNK, piece
    try:
        found = stream(text)
    finally:
        coco.CHUNK = before
    assert found == [(name, element) for name in content if name != "info" for element in content[name]]


@pytest.mark.parametrize(
    "end", [b"", b"[", b'{"images"', b'{"images": [{"id": 1}, {"id"', b'{"images": [{"id": 1}] x', b'{"a": "\xff"}']
)
def test_text_that_stops_being_json_is_named_with_its_place(end):
    with pytest.raises(BrokenJsonError, match=r"at character \d|not UTF-8"):
        stream(end)


def test_an_element_without_end_does_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(coco, "LONGEST_ELEMENT", 10_000)
    monkeypatch.setattr(coco, "CHUNK", 1_000)
    endless = io.BytesIO(b'{"images": ["' + b"x" * 10**6)
    with pytest.raises(BrokenJsonError):
        list(read_arrays(endless, {"images"}))
    assert endless.tell() < 20_000


@pytest.mark.parametrize(
    "text", [b'{"images": ' + b"[" * 100_000, b'{"images": [' + b"9" * 10_000 + b"]}", b'{{"a": 1}: [1]}']
)
def test_json_that_breaks_parsers_is_broken_json(text):
    with pytest.raises(BrokenJsonError):
        stream(text)


def test_annotations_join_their_images_in_the_files_order(tmp_path):
    content = captions_json("train", range(1, 40), version="1.2", tokenized=True)
    index = index_of(tmp_path / "index", content)
    images = all_images(index)
    assert [image.image_id for image in images] == list(range(1, 40))
    assert [caption.text for caption in images[6].captions] == [f"7番の犬が{nth}回走っている" for nth in range(5)]
    assert images[6].captions[2].tokenized == "7 番 の 犬 が 2 回 走っ て いる"
    assert (images[6].width, images[6].license) == (640, "Attribution-NonCommercial License")
    assert index.problems() == []
    reordered = {name: content[name] for name in ("annotations", "licenses", "info", "images")}
    assert all_images(index_of(tmp_path / "reordered", reordered)) == images


def test_one_broken_entry_of_many_is_named_and_the_others_are_kept(tmp_path):
    content = captions_json("train", range(1, 6), version="1.2", tokenized=False)
    content["annotations"] += [
        {"id": 900, "image_id": 77, "caption": "知らない写真"},
        {"id": 901, "image_id": 1},
        {"id": 902, "image_id": 1, "caption": "  "},
        {"id": 903, "image_id": 2**70, "caption": "大きな番号"},
        {"id": 904, "image_id": 1, "caption": "half \ud800 a character"},
        None,
    ]
    content["images"] += [
        {"id": 50, "file_name": "lonely.jpg"},
        {"id": 1, "file_name": "again.jpg"},
        {"id": 51, "file_name": "../escape.jpg"},
        {"file_name": "no id.jpg"},
    ]
    index = index_of(tmp_path / "index", content)
    assert [image.image_id for image in all_images(index)] == [1, 2, 3, 4, 5]
    assert all(len(image.captions) == 5 for image in all_images(index))
    problems = index.problems()
    assert len(problems) == 10
    assert ("annotation 900", "the image is not in the file") in problems
    assert ("lonely.jpg", "no caption in the file") in problems
    assert ("again.jpg", "the image is in the file twice") in problems


def test_a_file_that_breaks_off_gives_what_came_before(tmp_path):
    text = json.dumps(captions_json("train", range(1, 40), version="1.2", tokenized=False))
    index = index_of(tmp_path / "index", text[: len(text) * 2 // 3])
    assert 0 < len(index) <= 39
    assert ("the file", "ends too early") in [(name, reason[:14]) for name, reason in index.problems()]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"images": [], "annotations": []}', "<html>", '{"images": 3}'])
def test_a_file_without_captions_is_refused(tmp_path, text):
    with pytest.raises(ValueError, match="holds no captioned image"):
        index_of(tmp_path / "index", text)
    assert not (tmp_path / "index").exists()


def make_zip(path, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("train2014/", b"")
        for number in range(3):
            archive.writestr(f"train2014/COCO_train2014_{number:012d}.jpg", PHOTO + bytes([number]))
    return path


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_read_by_place_are_those_that_zipfile_reads(tmp_path, compression):
    path = make_zip(tmp_path / "a.zip", compression)
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        found = {name: read_member(file, member, 10**6) for name, member in zip_members(path)}
        assert found == {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}


def test_a_damaged_member_is_found_out(tmp_path):
    path = make_zip(tmp_path / "a.zip")
    data = bytearray(path.read_bytes())
    member = dict(zip_members(path))["train2014/COCO_train2014_000000000001.jpg"]
    data[member.offset + 200] ^= 1
    path.write_bytes(data)
    with path.open("rb") as file:
        with pytest.raises(ValueError, match="damaged"):
            read_member(file, member, 10**6)
        with pytest.raises(ValueError, match="over the limit"):
            read_member(file, member, 10)
        with pytest.raises(ValueError, match="not where the zip says"):
            read_member(file, member._replace(offset=7), 10**6)
        with pytest.raises(ValueError, match="method 12"):
            read_member(file, member._replace(method=12), 10**6)


def test_a_deflated_bomb_gives_no_more_than_it_declares(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.jpg", bytes(10**7))
    ((_, member),) = zip_members(tmp_path / "bomb.zip")
    with (tmp_path / "bomb.zip").open("rb") as file, pytest.raises(ValueError, match="damaged"):
        read_member(file, member._replace(size=1000), 10**6)


def test_a_zip_that_was_cut_is_refused(tmp_path):
    path = make_zip(tmp_path / "a.zip")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"a\.zip is not a whole zip"):
        build_zip_index(tmp_path / "zips", [path])


def test_a_zip_that_lost_its_beginning_is_refused(tmp_path):
    path = make_zip(tmp_path / "a.zip")
    path.write_bytes(path.read_bytes()[60:])
    with pytest.raises(ValueError, match=r"a\.zip is not a whole zip"):
        build_zip_index(tmp_path / "zips", [path])


def test_a_table_is_read_whatever_its_folder_is_called(tmp_path):
    (tmp_path / "50% #1?").mkdir()
    assert image(1, tmp_path / "50% #1?" / "index").image_id == 1


def image(number: int, index_path):
    content = captions_json("train", range(number, number + 1), version="1.2", tokenized=False)
    return all_images(index_of(index_path, content))[0]


@pytest.mark.parametrize(
    "place",
    [
        "COCO_train2014_000000000001.jpg",
        "train2014/COCO_train2014_000000000001.jpg",
        "val2017/000000000001.jpg",
        "images/train2017/000000000001.jpg",
    ],
)
def test_a_photo_is_found_wherever_coco_is_laid_out(tmp_path, place):
    (tmp_path / "coco" / place).parent.mkdir(parents=True)
    (tmp_path / "coco" / place).write_bytes(PHOTO)
    with PhotoFiles([tmp_path / "coco"], None) as files:
        assert files.read(image(1, tmp_path / "index")) == PHOTO


@pytest.mark.parametrize(
    "data, reason",
    [
        (None, "the photo is missing"),
        (b"", "the photo is not a JPEG"),
        (b"<html>", "the photo is not a JPEG"),
        (PHOTO[: len(PHOTO) // 2], "the photo is cut short"),
    ],
)
def test_a_photo_that_is_none_is_named_with_its_reason(tmp_path, data, reason):
    (tmp_path / "coco").mkdir()
    if data is not None:
        (tmp_path / "coco" / "COCO_train2014_000000000001.jpg").write_bytes(data)
    with PhotoFiles([tmp_path / "coco"], None) as files, pytest.raises(ValueError, match=reason):
        files.read(image(1, tmp_path / "index"))
