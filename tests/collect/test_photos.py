"""Photos are checked, kept once, fetched again only where that helps, and only ever from X's photo server."""

import hashlib
import io
import json
import socket

import numpy as np
import pytest
from PIL import Image

from tests.collect.fake_x import PHOTO_FAULTS, FakeX, make_photo, make_world, random_faults
from tweetcap.collect import photos as photos_module
from tweetcap.collect.photos import PHOTO_ORIGINS, fetch_photos, store_photo
from tweetcap.collect.posts import Photo, PhotoRecord, read_photos


@pytest.fixture(scope="module")
def server():
    with FakeX(make_world(accounts=1, posts=60)) as server:
        yield server


@pytest.fixture
def x(server):
    server.reset()
    server.gone_photos = set()
    return server


@pytest.fixture
def wanted(x) -> list[Photo]:
    """Photos of several posts, several of some, as their timeline describes them."""
    keys = [key for key, item in x.world.media.items() if item["type"] == "photo"][:24]
    return [Photo(key, url=f"{x.url}/media/{key}.jpg") for key in keys]


def fetch(folder, x: FakeX, wanted: list[Photo]) -> dict[str, PhotoRecord]:
    return fetch_photos(folder, wanted, origins=[x.url], sleep=lambda seconds: None)


def bits(one: PhotoRecord, other: PhotoRecord) -> int:
    return (int(one.perceptual_hash, 16) ^ int(other.perceptual_hash, 16)).bit_count()


def test_every_photo_is_kept_as_it_came_and_named_by_its_content(tmp_path, x, wanted):
    records = fetch(tmp_path, x, wanted)
    assert list(records) == [photo.media_key for photo in wanted]
    assert records == read_photos(tmp_path)
    for record in records.values():
        data = (tmp_path / record.path).read_bytes()
        assert data == make_photo(record.media_key, x.world.media)
        assert record.sha256 == hashlib.sha256(data).hexdigest() and record.bytes == len(data)
        assert record.path == f"photos/{record.sha256[:2]}/{record.sha256}.jpg"
        assert (record.width, record.height, record.error) == (96, 64, None)


def test_photos_from_a_faulty_server_equal_those_from_a_clean_one(tmp_path, x, wanted):
    clean = fetch(tmp_path / "clean", x, wanted)
    x.reset(photo_faults=random_faults(5, 0.4, PHOTO_FAULTS))
    for _ in range(3):  # the same command again, for those whose every try failed
        fetch(tmp_path / "faulty", x, wanted)
    assert read_photos(tmp_path / "faulty") == clean


def test_a_photo_that_is_there_is_not_fetched_again(tmp_path, x, wanted):
    fetch(tmp_path, x, wanted[:10])
    x.reset()
    assert len(fetch(tmp_path, x, wanted)) == 14
    assert len(x.requests) == 14 and not fetch(tmp_path, x, wanted)


def test_a_photo_that_is_gone_is_recorded_and_not_asked_for_again(tmp_path, x, wanted):
    x.gone_photos = {wanted[3].media_key}
    record = fetch(tmp_path, x, wanted)[wanted[3].media_key]
    assert record.gone and record.path is None and record.error == f"{wanted[3].url} is gone (404)."
    x.reset()
    assert not fetch(tmp_path, x, wanted) and not x.requests


@pytest.mark.parametrize(
    ("fault", "tries", "sentence"),
    [
        ("503", 4, "was answered with 503; run the same command again."),
        ("429 bare", 4, "was answered with 429; run the same command again."),
        ("403", 1, "was answered with 403; run the same command again."),
        ("cut", 4, "could not be read (RemoteProtocolError); run the same command again."),
        ("cut in the body", 4, "could not be read (RemoteProtocolError); run the same command again."),
        ("302", 1, "was answered with 302; run the same command again."),
    ],
)
def test_a_photo_that_fails_is_tried_a_few_times_and_again_on_the_next_run(tmp_path, x, wanted, fault, tries, sentence):
    for _ in range(2):
        x.reset(photo_faults=[fault] * 9)
        record = fetch(tmp_path, x, wanted[:1])[wanted[0].media_key]
        assert record.error == f"{wanted[0].url} {sentence}" and not record.gone
        assert len(x.requests) == tries
    assert len((tmp_path / "photos.jsonl").read_text().splitlines()) == 1  # the same failure is written once
    x.reset()
    assert fetch(tmp_path, x, wanted[:1])[wanted[0].media_key].path
    assert read_photos(tmp_path)[wanted[0].media_key].path


@pytest.mark.parametrize(
    "url",
    [
        "http://pbs.twimg.com/media/a.jpg",
        "https://pbs.twimg.com.example.com/a.jpg",
        "https://pbs.twimg.com@169.254.169.254/a.jpg",
        "https://pbs.twimg.com:8443/a.jpg",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/a.jpg",
        "https://[oops/a.jpg",
        "file:///etc/passwd",
        "ftp://pbs.twimg.com/a.jpg",
        "",
        "//pbs.twimg.com/a.jpg",
        5,
        ["https://pbs.twimg.com/a.jpg"],
    ],
)
def test_no_other_address_is_ever_asked(tmp_path, url, monkeypatch):
    def ask(*_) -> None:
        raise AssertionError("asked")

    monkeypatch.setattr(photos_module, "_get", ask)
    records = fetch_photos(tmp_path, [Photo("3_1", url=url)], sleep=lambda seconds: None)
    assert PHOTO_ORIGINS == ("https://pbs.twimg.com",)
    assert not url or records["3_1"].error == f"{url} is no address of X's photo server and was not asked."


def test_a_redirect_is_not_followed(tmp_path, x, wanted):
    with socket.socket() as inside:  # a service on this machine that nobody may be led to
        inside.bind(("127.0.0.1", 0))
        inside.listen()
        inside.settimeout(0.2)
        x.redirect = f"http://127.0.0.1:{inside.getsockname()[1]}/"
        x.reset(photo_faults=["302 redirect"])
        assert "302" in fetch(tmp_path, x, wanted[:1])[wanted[0].media_key].error
        with pytest.raises(TimeoutError):
            inside.accept()


def test_what_is_no_photo_is_recorded_with_its_reason_and_keeps_no_file(tmp_path):
    whole = make_photo("3_1", {"3_1": {}})
    reasons = {
        b"<html><body>Not found</body></html>": "The photo is an HTML page: convert it to JPEG, PNG, WEBP or GIF.",
        whole[: len(whole) // 2]: "The photo is damaged or cut short: download or export it again.",
        b"": "The photo is empty: give a JPEG, PNG, WEBP or GIF.",
    }
    for number, (data, reason) in enumerate(reasons.items()):
        record = store_photo(tmp_path, f"3_{number}", data)
        assert (record.error, record.path, record.gone) == (reason, None, False)
    assert [path.name for path in tmp_path.iterdir()] == ["photos.jsonl"]


def test_a_photo_over_the_limit_is_not_read_to_its_end(tmp_path, x, wanted, monkeypatch):
    monkeypatch.setattr(photos_module, "MAX_BYTES", 1000)
    record = fetch(tmp_path, x, wanted[:1])[wanted[0].media_key]
    assert record.path is None and record.error.endswith("MB and was left out.")


def test_the_content_decides_on_the_suffix_and_not_the_address(tmp_path):
    image = Image.fromarray(np.arange(64 * 64 * 3, dtype=np.uint8).reshape(64, 64, 3))
    for kind, suffix in (("PNG", ".png"), ("WEBP", ".webp"), ("GIF", ".gif"), ("JPEG", ".jpg")):
        file = io.BytesIO()
        image.save(file, kind)
        record = store_photo(tmp_path, f"3_{kind}", file.getvalue(), "https://pbs.twimg.com/media/a.jpg")
        assert record.path.endswith(suffix)


def test_one_file_serves_two_posts_and_each_has_its_record(tmp_path):
    data = make_photo("3_1", {"3_1": {}})
    first, second = store_photo(tmp_path, "3_1", data), store_photo(tmp_path, "3_2", data)
    assert first.path == second.path and len(list(tmp_path.glob("photos/*/*"))) == 1
    assert list(read_photos(tmp_path)) == ["3_1", "3_2"]


def test_a_photo_saved_again_has_nearly_the_same_hash_and_another_one_does_not(tmp_path):
    media = {"3_1": {}, "3_2": {"copy_of": "3_1"}, "3_3": {}}
    original, copy, other = (store_photo(tmp_path, key, make_photo(key, media)) for key in media)
    assert original.sha256 != copy.sha256
    assert bits(original, copy) <= 4 < 16 < bits(original, other)
    assert all(len(record.perceptual_hash) == 16 for record in (original, copy, other))


def test_a_half_written_file_of_a_photo_is_replaced(tmp_path):
    data = make_photo("3_1", {"3_1": {}})
    path = tmp_path / store_photo(tmp_path, "3_1", data).path
    path.write_bytes(data[:100])
    store_photo(tmp_path, "3_1", data)
    assert path.read_bytes() == data


def test_a_run_that_is_stopped_keeps_what_came_and_goes_on(tmp_path, x, wanted):
    seen = []

    def stop(record: PhotoRecord) -> None:
        seen.append(record)
        if len(seen) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch_photos(tmp_path, wanted, origins=[x.url], done=stop)
    assert list(read_photos(tmp_path).values()) == seen
    fetch(tmp_path, x, wanted)
    assert [json.loads(line)["media_key"] for line in (tmp_path / "photos.jsonl").open()] == [
        photo.media_key for photo in wanted
    ]
