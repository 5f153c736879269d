"""The README and the guides promise only what is there."""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from tweetcap import cli

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {guide: guide.read_text(encoding="utf-8") for guide in GUIDES}
SHELL = "\n".join(
    block for text in TEXTS.values() for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
).replace("\\\n", " ")
LINKS = [
    (guide.parent / path).relative_to(ROOT)
    for guide, text in TEXTS.items()
    for path in re.findall(r"\]\((?!https?:)([^)#]+)\)", text)
]


def test_the_space_s_header_agrees_with_the_pins():
    header = yaml.safe_load(README.split("---")[1])
    pins = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert f"gradio=={header['sdk_version']}" in pins
    assert (ROOT / header["app_file"]).is_file()
    assert len(header["short_description"]) <= 60


def test_every_make_target_it_names_exists():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z]+)", SHELL))
    assert named >= {"write", "demo", "lint", "test"}
    assert named <= targets


def test_every_command_and_option_it_names_exists():
    lines = re.findall(r"^(?:.*[ /|])?tweetcap ((?:[a-z]+ )?.*?)(?:#|$)", SHELL, re.MULTILINE)
    assert len(lines) >= 15
    for line in lines:
        command, words = get_command(cli.app), shlex.split(line)
        while hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
        options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert {word.split("=")[0] for word in words if word.startswith("--")} <= options | {"--help"}, line


@pytest.mark.parametrize("path", sorted(set(LINKS)), ids=str)
def test_every_file_they_link_to_exists(path):
    assert (ROOT / path).exists()
