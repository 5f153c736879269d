"""What is pushed is what was checked: whole, finite, with its code, and without a word that wasn't meant to go."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from tweetcap.cli import app
from tweetcap.data.hub import PublishError
from tweetcap.publish import model
from tweetcap.publish.model import CODE, stage_model


@pytest.fixture
def stage(checkpoint, tmp_path):
    def stage(**options):
        folder = tmp_path / "staged"
        folder.mkdir()
        card, remarks = stage_model(checkpoint, folder, "me/tiny", **options)
        return folder, card, remarks

    return stage


def refusal(stage) -> str:
    with pytest.raises(PublishError) as caught:
        stage()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_pushed_is_the_checkpoint_with_its_code_and_card_and_nothing_else(hub, pushed):
    assert pushed.model[1] == f"{hub.url}/me/tiny\n"
    files = hub.files("me/tiny")
    code = {path.name for path in CODE.glob("*.py")} - {"__init__.py"}
    card = {"README.md", "metrics.json", ".gitattributes"}
    data = {path.name for path in pushed.checkpoint.iterdir() if path.suffix != ".py"} - {
        "predictions.jsonl",
        "notes.md",
    }
    assert set(files) == code | card | data
    for name in data - {"README.md", "metrics.json"}:
        assert files[name] == (pushed.checkpoint / name).read_bytes(), name
    assert b"somebody" not in files["metrics.json"]
    assert hub.repositories["model", "me/tiny"].private
    assert not any(request.authorized for request in hub.asked("PUT /lfs/"))


def test_a_push_takes_out_of_its_branch_what_an_earlier_one_left(hub, pushed):
    assert pushed.branch[1] == f"{hub.url}/me/old/tree/next\n"
    files = hub.files("me/old", revision="next")
    assert {"cat.jpg", "modeling_tweetcap.py"} <= set(files)
    assert not {"old_code.py", "model-00001-of-00002.safetensors"} & set(files)
    assert "old_code.py" in hub.files("me/old")


def test_a_checkpoint_without_figures_or_hashes_is_pushed_with_a_remark(checkpoint, stage):
    (checkpoint / "metrics.json").unlink()
    (checkpoint / "seen_texts.bin").unlink()
    folder, card, remarks = stage()
    assert "was not evaluated" in remarks[0]
    assert "may repeat training texts" in remarks[1]
    assert not (folder / "metrics.json").exists()
    assert "Nothing was measured." in card.text
    assert "seen_texts.bin" not in card.text


def test_weights_that_are_no_numbers_are_refused(checkpoint, stage):
    weights = load_file(checkpoint / "model.safetensors")
    name = "decoder.output_norm.weight"
    weights[name][3] = torch.nan
    save_file(weights, checkpoint / "model.safetensors", {"format": "pt"})
    (checkpoint / "metrics.json").unlink()
    assert f"has weights that are no numbers ({name})" in refusal(stage)


def test_weights_that_lack_are_refused(checkpoint, stage):
    weights = load_file(checkpoint / "model.safetensors")
    weights.pop("decoder.output_norm.weight")
    save_file(weights, checkpoint / "model.safetensors", {"format": "pt"})
    (checkpoint / "metrics.json").unlink()
    assert "lacks weights (decoder.output_norm.weight)" in refusal(stage)


def test_words_in_the_weights_header_are_refused(checkpoint, stage):
    save_file(
        load_file(checkpoint / "model.safetensors"), checkpoint / "model.safetensors", {"format": "pt", "text": "猫"}
    )
    (checkpoint / "metrics.json").unlink()
    assert "has notes of its own in its header" in refusal(stage)


def test_weights_that_were_cut_are_refused(checkpoint, stage):
    weights = checkpoint / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10_000])
    (checkpoint / "metrics.json").unlink()
    assert "is no whole file of weights" in refusal(stage)


def test_a_pointer_to_weights_that_git_did_not_fetch_is_refused(checkpoint, stage):
    (checkpoint / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\nsize 3\n")
    (checkpoint / "metrics.json").unlink()
    assert "is no whole file of weights" in refusal(stage)


def test_a_checkpoint_that_nobody_could_load_without_the_package_is_refused(checkpoint, stage):
    config = json.loads((checkpoint / "config.json").read_text())
    del config["auto_map"]
    (checkpoint / "config.json").write_text(json.dumps(config))
    assert "has no auto_map" in refusal(stage)


def test_another_kind_of_model_is_refused(checkpoint, stage):
    config = json.loads((checkpoint / "config.json").read_text()) | {"model_type": "bert"}
    (checkpoint / "config.json").write_text(json.dumps(config))
    assert "its config.json names bert" in refusal(stage)


@pytest.mark.parametrize("word", ["@somebody", "me@example.com", "https://example.com/a"])
def test_a_vocabulary_with_a_name_or_an_address_is_refused(checkpoint, stage, word):
    vocabulary = json.loads((checkpoint / "vocab.json").read_text(encoding="utf-8"))
    vocabulary[-1] = word
    (checkpoint / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    assert repr(word) in refusal(stage)


def test_texts_in_the_file_of_hashes_are_refused(checkpoint, stage):
    with (checkpoint / "seen_texts.bin").open("ab") as file:
        file.write("猫が箱の中で寝ている".encode())
    assert "holds more than hashes" in refusal(stage)


@pytest.mark.parametrize("token", ["hf_" + "aB3" * 12, "A" * 22 + "b%3D" * 12, "ghp_" + "x1" * 18])
def test_a_token_in_any_file_is_refused(checkpoint, stage, token):
    notes = checkpoint / "notes.md"
    notes.write_text(notes.read_text(encoding="utf-8") + f"\ncurl -H 'Authorization: Bearer {token}'\n", "utf-8")
    assert "README.md holds a token" in refusal(stage)


def test_this_accounts_token_is_refused_whatever_it_looks_like(checkpoint, stage, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "unlike-any-other")
    notes = checkpoint / "notes.md"
    notes.write_text(notes.read_text(encoding="utf-8") + "\nunlike-any-other\n", "utf-8")
    assert "README.md holds a token" in refusal(stage)


def test_refusals_come_before_anything_is_sent(checkpoint, monkeypatch):
    monkeypatch.setattr(model, "push_folder", lambda *_, **__: pytest.fail("it was sent"))
    (checkpoint / "notes.md").unlink()
    result = CliRunner().invoke(app, ["push", str(checkpoint), "me/refused"])
    assert result.exit_code == 2
    assert "is missing; write there YAML with a license" in result.output


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        ([], "name a checkpoint and ORG/NAME"),
        (["best"], "name a checkpoint and ORG/NAME"),
        (["best", "me/tiny", "--model", "me/tiny"], "give --space too"),
        (["best", "me/tiny", "--space", "me/space"], "leave out CHECKPOINT"),
        (["nowhere", "me/tiny"], "nowhere is not a folder"),
    ],
)
def test_a_command_that_is_wrong_is_told_so(arguments, sentence):
    result = CliRunner().invoke(app, ["push", *arguments])
    assert result.exit_code == 2
    assert sentence in result.output
