"""What may be published is pushed whole; what may not, or has a broken card, never leaves the machine."""

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Features, Value

from tests.data.file_server import running
from tests.hub import Fault, Hub
from tweetcap.data.publish import PublishError, check_folder, push_dataset, uploaded_files
from tweetcap.data.shards import LeftOut, write_shards

TOKEN = "hf_secret" + "0" * 20
CARD = """---
license: cc0-1.0
language:
- ja
pretty_name: Made
task_categories:
- image-to-text
size_categories:
- n<1K
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train-*
---

# Made

For a test.
"""


def read_rows(numbers):
    for number in numbers:
        yield LeftOut("5", "is missing") if number == 5 else {"number": number}


@pytest.fixture
def folder(tmp_path) -> Path:
    write_shards(
        tmp_path / "made", {"train": range(9)}, read_rows, Features({"number": Value("int64")}), settings={}, card=CARD
    )
    return tmp_path / "made"


@pytest.fixture
def hub():
    with running(Hub(TOKEN)) as hub:
        yield hub


def push(hub: Hub, folder: Path, *options: str, name: str = "org/made", token: str | None = TOKEN, **others: str):
    """Push in a process of its own, since the client reads its environment when it is imported."""
    program = (
        "import sys; from tweetcap.data.publish import push_dataset\n"
        "revision = sys.argv[3] if len(sys.argv) > 3 else None\n"
        "try: print(*push_dataset(sys.argv[1], sys.argv[2], private=True, revision=revision), sep='|')\n"
        "except ValueError as error: sys.exit(str(error))"
    )
    environment = hub.environment(folder.parent / "home", token) | others
    command = [sys.executable, "-c", program, folder, name, *options]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert TOKEN not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_a_dataset_is_pushed_as_it_lies_there_and_its_build_is_not(hub, folder):
    done = push(hub, folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{hub.url}/datasets/org/made|None\n"
    assert hub.repositories["dataset", "org/made"].private
    pushed = hub.files("org/made", "dataset")
    del pushed[".gitattributes"]  # the Hub's own
    assert set(pushed) == {"README.md", "data/train-00000-of-00001.parquet"}
    assert all(pushed[name] == (folder / name).read_bytes() for name in pushed)
    assert hub.asked("POST /api/validate-yaml")
    assert (folder / "left_out.jsonl").exists() and (folder / ".build").exists()


def test_a_second_push_goes_to_the_same_repository_and_to_a_branch(hub, folder):
    assert push(hub, folder).returncode == 0
    done = push(hub, folder, "next")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{hub.url}/datasets/org/made/tree/next")
    assert "README.md" in hub.files("org/made", "dataset", "next")
    assert "README.md" in hub.files("org/made", "dataset")


def test_a_push_leaves_no_shard_of_an_earlier_build_behind(hub, folder):
    old = {"data/train-00001-of-00002.parquet": b"forgotten", "notes.md": b"mine"}
    hub.add("org/made", old, "dataset", private=True)
    assert push(hub, folder).returncode == 0
    assert set(hub.files("org/made", "dataset")) == {"README.md", "data/train-00000-of-00001.parquet", "notes.md"}


def test_what_was_to_be_private_is_not_added_to_what_everyone_sees(hub, folder):
    hub.add("org/made", {"notes.md": b"mine"}, "dataset")
    assert "is there already, for everyone to see" in push(hub, folder).stderr
    assert set(hub.files("org/made", "dataset")) == {"notes.md"}


def test_a_pushed_dataset_loads_whole_and_as_a_stream(hub, folder):
    assert push(hub, folder).returncode == 0
    program = (
        "from datasets import load_dataset\n"
        "for streaming in (False, True):\n"
        "    print([row['number'] for row in load_dataset('org/made', split='train', streaming=streaming)])"
    )
    environment = hub.environment(folder.parent / "home", hub.reader)
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [str([0, 1, 2, 3, 4, 6, 7, 8])] * 2, done.stderr
    assert not any(request.authorized for request in hub.asked("/cdn/"))


def test_what_the_hub_refuses_is_said_in_a_sentence(hub, folder):
    hub.card_errors = ['"license" must be one of …']
    assert "the Hub refuses the card" in push(hub, folder).stderr
    hub.card_errors = []
    assert "run `hf auth login`" in push(hub, folder, token=None).stderr
    assert "may not be written to with this token" in push(hub, folder, token=hub.reader).stderr
    assert hub.repositories == {}
    assert "the Hub can't be reached" in push(hub, folder, HF_ENDPOINT="http://127.0.0.1:9").stderr
    assert "the Hub is switched off by HF_HUB_OFFLINE" in push(hub, folder, HF_HUB_OFFLINE="1").stderr


def test_a_push_that_fails_midway_is_done_by_the_same_command(hub, folder):
    hub.faults = [Fault("POST .*/commit/", status=500)]
    assert "the Hub answered 500 for org/made; try again later." in push(hub, folder).stderr
    hub.faults = []
    assert push(hub, folder).returncode == 0
    assert len(hub.asked("PUT /lfs/")) == 1


def refusal(folder: Path) -> str:
    with pytest.raises(PublishError) as caught:
        check_folder(folder)
    return str(caught.value)


def edit(folder: Path, old: str, new: str) -> None:
    card = folder / "README.md"
    assert old in card.read_text()
    card.write_text(card.read_text().replace(old, new))


def test_a_folder_that_may_be_published_passes(folder):
    assert check_folder(folder).data.pretty_name == "Made"
    assert [path.name for path in uploaded_files(folder)] == ["README.md", "train-00000-of-00001.parquet"]


def test_texts_of_posts_are_refused_by_the_cards_marker(folder):
    edit(folder, "license:", "tweetcap:\n  content: posts\nlicense:")
    assert "tweetcap dataset dehydrate" in refusal(folder)


def test_texts_of_posts_are_refused_by_their_columns(folder):
    pq.write_table(pa.table({"post_id": ["1"], "text": ["猫"]}), folder / "data" / "train-00001-of-00002.parquet")
    assert "tweetcap dataset dehydrate" in refusal(folder)


def test_ids_of_posts_with_labels_pass(folder):
    pq.write_table(pa.table({"post_id": ["1"], "tone": ["つぶやき"]}), folder / "data" / "train-00001-of-00002.parquet")
    assert check_folder(folder).data.pretty_name


@pytest.mark.parametrize("name, line", [("more.jsonl", '{"post_id": "1", "text": "猫"}'), ("more.csv", "post_id,text")])
def test_texts_of_posts_are_refused_in_other_files_too(folder, name, line):
    (folder / name).write_text(f"{line}\n", encoding="utf-8")
    assert "tweetcap dataset dehydrate" in refusal(folder)


def test_the_starters_photos_are_refused_under_another_card(folder):
    pq.write_table(pa.table({"photo_id": ["p1"], "image": ["x"]}), folder / "data" / "train-00001-of-00002.parquet")
    assert "hydrate" in refusal(folder)


@pytest.mark.parametrize(
    "name", ["raw/pages.jsonl", "posts.jsonl", "photos.jsonl", "forgotten.jsonl", "mine/raw/archive.jsonl"]
)
def test_a_collection_is_refused(folder, name):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("{}\n")
    assert "tweetcap dataset dehydrate" in refusal(folder)


def test_the_starters_photos_are_refused(folder):
    edit(folder, "license:", "tweetcap:\n  content: photos\nlicense:")
    assert "hydrate" in refusal(folder)
    edit(folder, "content: photos", "content: texts")
    (folder / "photos").mkdir()
    (folder / "photos" / "p0001.jpg").write_bytes(b"\xff\xd8\xff")
    assert "p0001.jpg is no file of a dataset" in refusal(folder)


@pytest.mark.parametrize(
    "old, new, sentence",
    [
        ("license: cc0-1.0\n", "", "has no license in its YAML"),
        ("language:\n- ja\n", "", "has no language in its YAML"),
        ("license: cc0-1.0", "license: [cc0", "has YAML that can't be read"),
        ("---\nlicense", "license", "has no license in its YAML"),
        ("# Made", "Made", "has no title"),
        ("data/train-*", "data/test-*", "names data/test-\\*, and no such file"),
        ("data/train-*", "data/train-00001*", "names data/train-00001\\*, and no such file"),
    ],
)
def test_a_card_that_is_not_whole_is_refused(folder, old, new, sentence):
    edit(folder, old, new)
    assert sentence.replace("\\", "") in refusal(folder)


def test_a_parquet_file_in_no_split_is_refused(folder):
    pq.write_table(pa.table({"number": [1]}), folder / "extra.parquet")
    assert "extra.parquet is in no split" in refusal(folder)
    (folder / "extra.parquet").write_bytes(b"half")
    assert "is not a whole Parquet file" in refusal(folder)


def test_a_build_that_is_not_finished_is_refused(folder):
    (folder / "README.md").unlink()
    assert "its build is not finished" in refusal(folder)
    assert "is not a folder" in refusal(folder / "nowhere")


@pytest.mark.parametrize("name", ["a/b/c", "org/-made-", "org/ma de", ""])
def test_a_name_that_is_none_is_refused_before_anything_is_sent(folder, name):
    with pytest.raises(PublishError, match="is no name of a dataset"):
        push_dataset(folder, name)
