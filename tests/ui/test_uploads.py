"""Uploads from people who mean harm: what is taken, how it is kept, what it can do."""

import json
import os
import socket
import struct
import time
import zlib
from pathlib import Path

import httpx
import pytest

from tests.fake_writer import FakeWriter
from tests.ui.served import JAPANESE, call, raw, served, upload
from tweetcap.ui import uploads as module
from tweetcap.ui.uploads import KEEP_SECONDS, Uploads

SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
HTML = b"<!doctype html><script>alert(document.domain)</script>"


@pytest.fixture(scope="module")
def uploads(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("uploads")


@pytest.fixture(scope="module")
def address(uploads):
    with served(FakeWriter(), uploads) as address:
        yield address


def describe(address: str, photo: str) -> str:
    """Return the description, or the sentence that stands for it."""
    kind, answer = call(address, "describe", {"photo": photo})
    content = json.loads(answer)
    return content[0]["description"] if kind == "complete" else content["error"]


def png(width: int, height: int, rows: bytes) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def hostile(lion: bytes) -> dict[str, tuple[bytes, str]]:
    """Return name → (file, how the sentence about it starts)."""
    bomb = png(50_000, 50_000, bytes(2**24))
    webp = (
        b"RIFF" + struct.pack("<I", 30) + b"WEBPVP8L" + struct.pack("<I", 10) + b"\x2f" + struct.pack("<I", 2**28 - 1)
    )
    return {
        "empty.jpg": (b"", "The photo is empty"),
        "page.jpg": (HTML, "The photo is an HTML page"),
        "drawing.png": (SVG, "The photo is an SVG drawing"),
        "truncated.jpg": (lion[:4000], "The photo is damaged or cut short"),
        "bomb.png": (bomb, "The photo has 50000 × 50000 pixels, over the limit of 25 million"),
        "bomb.webp": (webp.ljust(64, b"\0"), "The photo has 16384 × 16384 pixels, over the limit of 25 million"),
        "small header, long rows.png": (png(20, 20, bytes(2**26)), "幅20の写真"),
        "gif.js": (b"GIF89a/*" + bytes(16) + b"*/=1;alert(1)", "The photo is damaged or cut short"),
        "archive.jpg": (b"PK\3\4" + bytes(64), "The photo is an archive or office document"),
        "video.gif": (b"\0\0\0\x18ftypmp42" + bytes(32), "The photo is a video"),
        "noise.jpg": (b"\xff\xd8\xff" + bytes(range(256)) * 8, "The photo is damaged or cut short"),
        "page after a photo.html": (lion + HTML, "幅256の写真"),
    }


@pytest.mark.parametrize("name", list(hostile(b"")))
def test_whatever_is_uploaded_gets_an_answer_in_words(address, lion, name):
    data, start = hostile(lion.read_bytes())[name]
    (path,) = upload(address, data, name).json()
    assert describe(address, path).startswith(start)


@pytest.mark.parametrize("name", list(hostile(b"")))
def test_what_is_served_back_is_a_photo_or_a_download_by_its_content_not_its_name(address, lion, name):
    data, _ = hostile(lion.read_bytes())[name]
    (path,) = upload(address, data, name).json()
    answer = httpx.get(f"{address}/gradio_api/file={path}")
    assert answer.content == data
    kind = answer.headers["content-type"]
    assert kind in ("image/jpeg", "image/png", "image/gif", "image/webp", "application/octet-stream")
    assert kind != "application/octet-stream" or answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert answer.headers["cache-control"] == "private, no-store"


@pytest.mark.parametrize(
    "name", ["../../../etc/x.jpg", "/etc/passwd", "..", ".", "a\0b.jpg", "x" * 300 + ".jpg", "写真.jpg"]
)
def test_a_file_s_name_decides_nothing(address, uploads, lion, name):
    body = b'--b\r\nContent-Disposition: form-data; name="files"; filename="' + name.encode()
    body += b'"\r\n\r\n' + lion.read_bytes() + b"\r\n--b--\r\n"
    answer = httpx.post(
        f"{address}/gradio_api/upload", content=body, headers={"Content-Type": "multipart/form-data; boundary=b"}
    )
    (path,) = answer.json()
    assert Path(path).parent == uploads / "tweetcap"
    assert len(Path(path).stem) == 32
    assert Path(path).suffix == ".jpg"


def test_two_uploads_of_one_photo_have_nothing_in_common(address, lion):
    paths = {upload(address, lion.read_bytes()).json()[0] for _ in range(3)}
    assert len(paths) == 3


def multipart(*parts: bytes) -> dict:
    body = b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + b"--b--\r\n"
    return {"content": body, "headers": {"Content-Type": "multipart/form-data; boundary=b"}}


FILE = b'Content-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\nx'
FIELD = b'Content-Disposition: form-data; name="x"\r\n\r\nx'


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        ({"json": {"files": "x"}}, "Send the photo as multipart/form-data, in the field `files`."),
        ({"content": b""}, "Send the photo as multipart/form-data, in the field `files`."),
        (multipart(), "There is no file in the request: send one photo, in the field `files`."),
        (multipart(*[FILE] * 1000), "Too many files. Maximum number of files is 1: send one photo,"),
        (multipart(*[FIELD] * 1000), "Too many fields. Maximum number of fields is 0: send one photo,"),
        (multipart(FILE.replace(b"files", b"other")), "There is no file in the request: send one photo,"),
        (multipart(b"X: " + b"y" * 100_000 + b"\r\n\r\nx"), "Headers exceeded maximum allowed size: send one photo,"),
        (multipart(b"no header at all"), ""),
        ({"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}, "Missing boundary in multipart: send"),
    ],
)
def test_a_request_that_is_no_upload_leaves_nothing_behind(address, uploads, request_, sentence):
    before = sorted(uploads.rglob("*"))
    answer = httpx.post(f"{address}/gradio_api/upload", **request_)
    assert answer.status_code == 400
    assert answer.text.startswith(sentence)
    assert sorted(uploads.rglob("*")) == before


def test_a_photo_that_is_too_large_is_refused_in_the_visitor_s_language(address, uploads):
    big = b"\xff\xd8\xff" + bytes(20 * 2**20)
    before = sorted(uploads.rglob("*"))
    assert upload(address, big).text == "The photo has more than 20 MB: save it smaller."
    answer = upload(address, big, headers=JAPANESE)
    assert (answer.status_code, answer.text) == (413, "写真が 20 MB を超えています。小さくして保存し直してください。")
    assert sorted(uploads.rglob("*")) == before


@pytest.mark.parametrize(("length", "status"), [(10**15, b"413"), (10**30, b"400"), (-1, b"400"), ("x", b"400")])
def test_an_enormous_length_is_refused_before_anything_is_sent(address, length, status):
    request = (
        f"POST /gradio_api/upload HTTP/1.1\r\nHost: here\r\nContent-Length: {length}\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\nConnection: close\r\n\r\n"
    )
    assert raw(address, request.encode()).split(b" ")[1] == status


def test_a_body_in_chunks_without_a_length_is_cut_at_the_limit(address, uploads):
    before = sorted(uploads.rglob("*"))
    piece = b"10000\r\n" + bytes(2**16) + b"\r\n"
    head = (
        b"POST /gradio_api/call/write HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    )
    assert raw(address, head + piece * 129).split(b" ")[1] == b"413"
    assert sorted(uploads.rglob("*")) == before


def test_an_upload_that_comes_too_slowly_is_ended(address, uploads, monkeypatch):
    monkeypatch.setattr("tweetcap.ui.doors.IDLE_SECONDS", 0.3)
    before = sorted(uploads.rglob("*"))
    request = (
        b"POST /gradio_api/upload HTTP/1.1\r\nHost: here\r\nContent-Length: 1000\r\nConnection: close\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
    )
    answer = raw(address, request + FILE)
    assert answer.split(b" ")[1] == b"408"
    assert answer.endswith(b"The request came too slowly.")
    assert sorted(uploads.rglob("*")) == before


def test_an_upload_that_is_cut_leaves_nothing_behind(address, uploads):
    before = sorted(uploads.rglob("*"))
    request = (
        b"POST /gradio_api/upload HTTP/1.1\r\nHost: here\r\nContent-Length: 1000\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
    )
    url = httpx.URL(address)
    with socket.create_connection((url.host, url.port)) as connection:
        connection.sendall(request + FILE)
    time.sleep(0.5)  # until the server has had the time to write it
    for _ in range(50):
        if sorted(uploads.rglob("*")) == before:
            break
        time.sleep(0.1)
    assert sorted(uploads.rglob("*")) == before


def test_uploads_are_deleted_minutes_after_their_last_use_whoever_left_them(tmp_path):
    uploads = Uploads(tmp_path)
    (uploads.folder / "arriving").mkdir(parents=True)
    for path, minutes in [("old.jpg", 11), ("new.jpg", 9), ("arriving/cut", 11)]:
        (uploads.folder / path).write_bytes(b"x")
        os.utime(uploads.folder / path, (time.time() - 60 * minutes,) * 2)
    os.utime(uploads.folder / "arriving", (time.time() - 660,) * 2)
    uploads.sweep()
    assert [path.name for path in uploads.folder.iterdir()] == ["new.jpg"]
    assert KEEP_SECONDS == 600


def test_the_running_server_sweeps(lion, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SWEEP_SECONDS", 0.1)
    monkeypatch.setattr(module, "KEEP_SECONDS", 1.0)
    with served(FakeWriter(), tmp_path) as address:
        (path,) = upload(address, lion.read_bytes()).json()
        assert describe(address, path) == "幅256の写真"
        deadline = time.monotonic() + 20
        while Path(path).exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not Path(path).exists()
        assert "was deleted" in describe(address, path)


def test_a_photo_that_is_used_stays(tmp_path, lion, monkeypatch):
    uploads = Uploads(tmp_path)
    uploads.folder.mkdir()
    photo = uploads.folder / "a.jpg"
    photo.write_bytes(lion.read_bytes())
    os.utime(photo, (0, 0))
    module.read_upload({"path": str(photo)}, str(tmp_path))
    uploads.sweep()
    assert photo.exists()


def test_a_full_folder_takes_no_more_until_it_is_swept(address, uploads, lion, monkeypatch):
    monkeypatch.setattr(module, "MAX_STORED", 10)
    answer = upload(address, lion.read_bytes(), headers=JAPANESE)
    assert (answer.status_code, answer.text[:15]) == (503, "いまは写真が多すぎて受けとれま")
    monkeypatch.undo()
    monkeypatch.setattr(module, "MAX_FILES", 0)
    assert upload(address, lion.read_bytes()).status_code == 503


def test_nothing_outside_the_folder_of_uploads_is_served(address, uploads, tmp_path, lion):
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(b"secret")
    (uploads / "tweetcap").mkdir(exist_ok=True)
    climbing = f"{uploads}/tweetcap/../../{secret.relative_to(uploads.parent)}"
    paths = [str(secret), str(lion), climbing, climbing.replace("..", "%2e%2e"), "/etc/passwd", "app.py", "README.md"]
    paths += [f"file://{secret}", f"/{secret}", "/proc/self/environ", str(uploads), f"{uploads}/tweetcap", "~/.bashrc"]
    for path in paths:
        request = f"GET /gradio_api/file={path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"
        answer = raw(address, request.encode())
        assert answer.split(b" ")[1] in (b"403", b"404"), path
        assert b"secret\r\n" not in answer
        assert not answer.endswith(b"secret")
        assert "no upload of this server" in describe(address, path), path
