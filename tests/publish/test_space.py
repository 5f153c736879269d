"""The Space's folder is the project's page and package, with a header that names its model."""

import shutil

import pytest

from tweetcap.data.hub import HubError, PublishError
from tweetcap.publish import space


def test_without_a_model_the_embedded_checkpoint_goes_along(tmp_path):
    card = space.stage_space(tmp_path, None)
    names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert {"app.py", "requirements.txt", "README.md", "tweetcap/checkpoint/model.safetensors"} <= names
    assert not [name for name in names if "__pycache__" in name]
    assert card.data.to_dict() == space._header(space.ROOT / "README.md")


def test_the_header_is_the_projects_with_the_model_that_is_shown(tmp_path):
    header = space.stage_space(tmp_path, "me/tiny@v1").data.to_dict()
    assert header == space._header(space.ROOT / "README.md") | {"models": ["me/tiny"]}
    assert header["app_file"] == "app.py"
    assert not (tmp_path / "tweetcap" / "checkpoint").exists()


def test_an_installed_package_without_the_project_is_told_so(tmp_path, monkeypatch):
    monkeypatch.setattr(space, "ROOT", tmp_path)
    with pytest.raises(PublishError, match="run this from a copy of the project's repository"):
        space.stage_space(tmp_path / "space", None)


def test_a_model_that_is_no_name_on_the_hub_is_refused_before_anything_is_sent():
    with pytest.raises(HubError, match="runs/mine/best is no folder and no name on the Hub"):
        space.push_space("me/page", model="runs/mine/best")


def test_a_folder_is_no_model_that_a_space_can_see(checkpoint):
    with pytest.raises(PublishError, match="push it, and give its ORG/NAME"):
        space.push_space("me/page", model=str(checkpoint))


def test_of_the_embedded_checkpoint_only_its_own_files_go_along(tmp_path, monkeypatch):
    root = tmp_path / "project"
    embedded = root / "tweetcap" / "checkpoint"
    embedded.mkdir(parents=True)
    for name in (*space.FILES, "README.md"):
        shutil.copyfile(space.ROOT / name, root / name)
    for name in ("vocab.json", "predictions.jsonl"):
        (embedded / name).write_text("{}")
    monkeypatch.setattr(space, "ROOT", root)
    monkeypatch.setattr(space, "PACKAGE", root / "tweetcap")
    monkeypatch.setattr(space, "CHECKPOINT", embedded)
    (tmp_path / "space").mkdir()
    space.stage_space(tmp_path / "space", None)
    assert [path.name for path in (tmp_path / "space" / "tweetcap").rglob("*.json*")] == ["vocab.json"]
