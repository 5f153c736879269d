"""The Space: the page, the package, and the name of the model that it shows."""

import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import HfApi, RepoCard, SpaceCard, hf_hub_download

from tweetcap.data.hub import CONFIG, FAILURES, PublishError, check_config, explain, push_folder, split_revision
from tweetcap.publish.card import CARD, METRICS, NOTES
from tweetcap.publish.model import check_texts
from tweetcap.write.writer import CHECKPOINT_FILES

ROOT = Path(__file__).parents[2]
FILES = ("app.py", "requirements.txt", "LICENSE")
PACKAGE = ROOT / "tweetcap"
CHECKPOINT = PACKAGE / "checkpoint"
PACKAGE_FILES = (".py", ".css", ".js", ".yaml", ".txt", ".html", ".svg")
EMBEDDED_FILES = (*CHECKPOINT_FILES, CARD, METRICS, NOTES)
VARIABLE = "TWEETCAP_MODEL"


def push_space(repo_id: str, *, model: str | None = None, private: bool = False) -> tuple[str, list[str]]:
    """Push the Space; return its address, and remarks.

    Args:
        repo_id: `name` or `organisation/name`; the Space is made if it isn't there.
        model: `ORG/NAME` or `ORG/NAME@REVISION` on the Hub, which the Space names in its header and gets as the
            variable TWEETCAP_MODEL; None sends the embedded checkpoint along.

    Raises:
        PublishError: there is no such model, the project's files aren't here, or the Hub refuses.
    """
    remarks = []
    if model is not None:
        if Path(model).is_dir():
            raise PublishError(f"{model} is a folder here, which a Space can't see; push it, and give its ORG/NAME.")
        name, revision = split_revision(model)
        try:
            info = HfApi().model_info(name, revision=revision)
            check_config(hf_hub_download(name, CONFIG, revision=info.sha), name)
        except FAILURES as error:
            raise PublishError(explain(name, error, revision=revision)) from None
        if info.private:
            remarks.append(f"{name} is private; give the Space a secret HF_TOKEN that may read it, in its settings")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        card = stage_space(folder, model)
        address, remark = push_folder(
            folder,
            repo_id,
            "space",
            card,
            private=private,
            delete=["tweetcap/*", *FILES],
            message="Upload the page with tweetcap",
            variables={VARIABLE: model},
        )
    return address, [*remarks, *([remark] if remark else [])]


def stage_space(folder: Path, model: str | None) -> RepoCard:
    """Write the Space's files into an empty folder; return its card.

    Raises:
        PublishError: the project's files aren't here, or one of them holds a token.
    """
    missing = [name for name in (*FILES, "README.md") if not (ROOT / name).is_file()]
    if missing:
        raise PublishError(f"{ROOT / missing[0]} does not exist; run this from a copy of the project's repository.")
    for name in FILES:
        shutil.copyfile(ROOT / name, folder / name)
    for source in sorted(PACKAGE.rglob("*")):
        embedded = source.is_relative_to(CHECKPOINT)
        if not source.is_file() or "__pycache__" in source.parts or (embedded and model):
            continue
        if source.name in EMBEDDED_FILES if embedded else source.suffix in PACKAGE_FILES:
            target = folder / source.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    header = _header(ROOT / "README.md")
    shown = "the checkpoint that comes with it"
    if model:
        name, _ = split_revision(model)
        header["models"] = [name]
        shown = f"`{name}`"
    text = f"# {header['title']}\n\nA photo of an animal in, Japanese tweets out. The words are those of {shown}."
    front = yaml.safe_dump(header, allow_unicode=True, sort_keys=False)
    card = SpaceCard(f"---\n{front}---\n\n{text}\n", ignore_metadata_errors=False)
    (folder / "README.md").write_text(str(card), encoding="utf-8")
    check_texts(folder.rglob("*"))
    return card


def _header(path: Path) -> dict[str, Any]:
    match = re.match(r"---\n(.*?)\n---\n", path.read_text(encoding="utf-8"), re.DOTALL)
    if match is None:
        raise PublishError(f"{path} has no YAML at its head; it says how the Space is to be run.")
    return yaml.safe_load(match[1])
