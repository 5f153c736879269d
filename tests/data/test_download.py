"""A download comes out byte for byte whatever the server does, or ends in one sentence."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from tests.data.file_server import Fault, FileServer, running
from tweetcap.data import download as module
from tweetcap.data.download import DownloadError, download

FILE = random.Random(0).randbytes(300_000)
SHA256 = hashlib.sha256(FILE).hexdigest()


@pytest.fixture
def server():
    with running(FileServer()) as server:
        server.files["/file"] = FILE
        yield server


@pytest.fixture
def waits(monkeypatch) -> list[float]:
    """What the download would have slept, without sleeping."""
    slept: list[float] = []
    monkeypatch.setattr(module.time, "sleep", slept.append)
    return slept


@pytest.fixture
def fetch(server, waits, tmp_path):
    def run(**options):
        path = download(f"{server.url}/file", tmp_path / "sub" / "file", say=lambda _: None, **options)
        assert sorted(path.parent.iterdir()) == [path]
        return path.read_bytes()

    return run


def ranges(server) -> list[str | None]:
    return [headers.get("Range") for _, headers in server.requests]


def test_a_file_comes_whole_and_is_not_fetched_twice(server, fetch):
    assert fetch(size=len(FILE), sha256=SHA256, md5=hashlib.md5(FILE).hexdigest()) == FILE
    assert fetch(size=len(FILE)) == FILE
    assert len(server.requests) == 1


def test_a_cut_at_any_byte_is_gone_on_from_there(server, fetch):
    places = [1, 2, 65_535, 65_537, 100_000, len(FILE) - 170_000]
    server.faults = [Fault(cut_after=count) for count in places]
    assert fetch(sha256=SHA256) == FILE
    assert server.sent <= len(FILE) + 2**17  # what was on its way at a cut may be sent again
    assert ranges(server)[0] is None and all(ranges(server)[1:])


def test_a_server_that_cuts_every_connection_is_worn_down(server, fetch, waits):
    server.always = Fault(cut_after=9_000)
    assert fetch() == FILE
    assert len(server.requests) > 30
    assert max(waits) < 1  # it made progress each time


def test_a_server_without_ranges_sends_everything_again(server, fetch):
    server.faults = [Fault(cut_after=200_000), Fault(cut_after=100_000, ignore_range=True), Fault(ignore_range=True)]
    assert fetch(sha256=SHA256) == FILE


def test_a_file_that_changes_midway_is_begun_anew(server, fetch):
    changed = FILE[::-1]
    server.faults = [Fault(cut_after=200_000), Fault(replace=changed)]
    assert fetch() == changed


@pytest.mark.parametrize("checksum_known", [True, False])
def test_a_file_that_changes_behind_a_server_that_does_not_say_so_is_begun_anew(server, fetch, checksum_known):
    server.etags = False
    changed = FILE[::-1]
    server.faults = [Fault(cut_after=200_000), Fault(replace=changed)]
    assert fetch(sha256=hashlib.sha256(changed).hexdigest() if checksum_known else None) == changed


def test_a_file_that_grows_midway_is_begun_anew(server, fetch):
    grown = f"bytes 200000-{len(FILE)}/{len(FILE) + 1}"
    server.faults = [Fault(cut_after=200_000), Fault(headers={"Content-Range": grown})]
    assert fetch() == FILE


def test_halves_are_not_joined_where_nothing_vouches_for_them(server, fetch):
    server.etags = False
    server.faults = [Fault(cut_after=200_000)]
    assert fetch() == FILE
    assert ranges(server) == [None, None]


def test_halves_are_joined_without_a_validator_where_a_checksum_is_known(server, fetch):
    server.etags = False
    server.faults = [Fault(cut_after=200_000)]
    assert fetch(sha256=SHA256) == FILE
    assert ranges(server)[1] is not None


def test_another_part_than_asked_for_is_not_taken(server, fetch):
    server.faults = [Fault(cut_after=200_000), Fault(shift=10)]
    assert fetch() == FILE


def test_a_length_that_is_a_lie_is_found_out(server, fetch):
    server.faults = [Fault(announce=len(FILE) + 50), Fault(announce=len(FILE) + 50)]
    assert fetch() == FILE


def test_an_early_end_without_a_length_is_gone_on_from(server, fetch):
    server.faults = [Fault(cut_after=250_000, headers={"Content-Length": None})]
    assert fetch(size=len(FILE)) == FILE


def test_a_compressed_answer_is_not_stored(server, fetch):
    server.faults = [Fault(headers={"Content-Encoding": "gzip"})]
    assert fetch() == FILE


@pytest.mark.parametrize("retry_after, seconds", [("7", 7), ("", 1), ("a while", 1), ("99999", 900)])
def test_a_busy_server_is_waited_for_as_long_as_it_asks(server, fetch, waits, retry_after, seconds):
    server.faults = [Fault(status=503, headers={"Retry-After": retry_after}), Fault(status=429)]
    assert fetch() == FILE
    assert waits == [seconds, 2]


def test_a_date_to_retry_after_is_understood(server, fetch, waits):
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 60))
    server.faults = [Fault(status=503, headers={"Retry-After": date})]
    assert fetch() == FILE
    assert 50 <= waits[0] <= 60


def test_a_dead_server_ends_in_one_sentence_and_keeps_what_came(server, fetch, waits, tmp_path):
    server.faults = [Fault(cut_after=200_000)]
    server.always = Fault(status=500)
    with pytest.raises(DownloadError, match=r"answered 500.*4 times in a row; [\d,]+ bytes are kept"):
        fetch(attempts=4)
    assert waits[-1] <= module.LONGEST_WAIT
    server.always = Fault()
    before = server.sent
    assert fetch() == FILE
    assert server.sent - before <= len(FILE) - 100_000


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"size": 5}, "has 300,000 bytes and not 5"),
        ({"sha256": "0" * 64}, "has the sha256 [0-9a-f]{64} and not 0{64}"),
        ({"limit": 1000}, "more than the 1,000 bytes allowed"),
    ],
)
def test_a_file_that_is_not_the_one_expected_is_refused(fetch, tmp_path, options, sentence):
    with pytest.raises(DownloadError, match=sentence):
        fetch(**options)
    assert not (tmp_path / "sub" / "file").exists()


def test_a_limit_holds_where_no_length_is_announced(server, fetch):
    server.always = Fault(headers={"Content-Length": None})
    with pytest.raises(DownloadError, match="more than the 1,000 bytes allowed"):
        fetch(limit=1000)


def test_another_length_does_not_cost_what_has_come(server, fetch, tmp_path):
    server.faults = [Fault(cut_after=200_000)]
    server.always = Fault(status=500)
    with pytest.raises(DownloadError):
        fetch(size=len(FILE), attempts=2)
    server.always = Fault()
    server.files["/file"] = b"<html>Out of order</html>"
    with pytest.raises(DownloadError, match="has 25 bytes"):
        fetch(size=len(FILE))
    server.files["/file"] = FILE
    assert fetch(size=len(FILE)) == FILE
    assert ranges(server)[-1] is not None


def test_a_missing_file_says_so_at_once(server, fetch, waits):
    server.files.clear()
    with pytest.raises(DownloadError, match="answered 404") as caught:
        fetch()
    assert caught.value.status == 404 and waits == []


def test_two_downloads_of_one_file_do_not_mix(server, tmp_path):
    with module._alone(tmp_path / "file"), pytest.raises(DownloadError, match="another process"):
        download(f"{server.url}/file", tmp_path / "file")


@pytest.mark.parametrize("address", ["nonsense://host/file", "http://"])
def test_an_address_that_is_none_is_refused(tmp_path, address):
    with pytest.raises(DownloadError, match="check the address"):
        download(address, tmp_path / "file")


def test_kill_9_at_random_moments_loses_nothing(server, tmp_path):
    server.always = Fault(pause=0.01)
    path = tmp_path / "file"
    program = "import sys; from tweetcap.data.download import download; download(sys.argv[1], sys.argv[2])"
    for moment in (60_000, 150_000, 220_000):
        child = subprocess.Popen([sys.executable, "-c", program, f"{server.url}/file", path])
        while server.sent < moment and child.poll() is None:
            time.sleep(0.005)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        assert not path.exists()
    download(f"{server.url}/file", path, sha256=SHA256)
    assert path.read_bytes() == FILE
    assert server.sent < 2 * len(FILE)
    assert any(ranges(server))
