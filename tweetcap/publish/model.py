"""A checkpoint's repository on the Hub: weights as they were evaluated, the network's code, the card.

What is sent is a list of names, and each file is looked at first: nothing that merely lies in the folder goes along.
"""

import json
import re
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

import torch
from huggingface_hub import ModelCard, get_token
from safetensors import SafetensorError, safe_open

from tweetcap.data.hub import CONFIG, WEIGHTS, PublishError, push_folder
from tweetcap.publish.card import CARD, METRICS, build_card, read_metrics
from tweetcap.write.filters import EMAIL, HANDLE, URL, SeenTexts
from tweetcap.write.writer import CHECKPOINT_FILES, SEEN_TEXTS, TweetWriter

CODE = Path(__file__).parents[1] / "model"
# Of the Hub, X, GitHub and OpenAI.
TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{20,}|\bA{8,}[A-Za-z0-9%]{30,}|\bgh[pousr]_[A-Za-z0-9]{30,}|\bsk-[\w-]{20,}")
AUTO_CLASSES = ("AutoConfig", "AutoModelForImageTextToText")


def push_model(
    checkpoint: str | Path,
    repo_id: str,
    *,
    notes: str | Path | None = None,
    metrics: str | Path | None = None,
    private: bool = False,
    revision: str | None = None,
) -> tuple[str, list[str]]:
    """Push a checkpoint with its code and card.

    Args:
        checkpoint: folder that `save_checkpoint` wrote.
        repo_id: `name` or `organisation/name`; the repository is made if it isn't there.
        notes: the card's hand-written part; CHECKPOINT/notes.md if left out.
        metrics: metrics.json of `tweetcap evaluate`; CHECKPOINT/metrics.json, where there is one, if left out.
        revision: branch, made if it isn't there.

    Returns:
        The repository's address, and remarks.

    Raises:
        PublishError: it may not be published, isn't whole, or the Hub refuses.
    """
    checkpoint = Path(checkpoint)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        card, remarks = stage_model(checkpoint, folder, repo_id, notes=notes, metrics=metrics)
        address, remark = push_folder(
            folder,
            repo_id,
            "model",
            card,
            private=private,
            revision=revision,
            # An earlier push's code or weights would be mixed with these.
            delete=["*.py", "*.json", "*.safetensors", SEEN_TEXTS],
            message="Upload a checkpoint with tweetcap",
        )
    return address, [*remarks, *([remark] if remark else [])]


def stage_model(
    checkpoint: Path,
    folder: Path,
    repo_id: str | None,
    *,
    notes: str | Path | None = None,
    metrics: str | Path | None = None,
) -> tuple[ModelCard, list[str]]:
    """Write into an empty folder what is to be sent, and check it; return the card and remarks.

    Raises:
        PublishError: as `push_model`; nothing has been sent.
    """
    if not checkpoint.is_dir():
        raise PublishError(f"{checkpoint} is not a folder; name the folder of a checkpoint.")
    measured = Path(metrics) if metrics else checkpoint / METRICS
    remarks, found = [], None
    if metrics or measured.exists():
        found = read_metrics(measured, checkpoint)
    else:
        remarks.append(f"{checkpoint} was not evaluated, and its card says so; give --metrics")
    _check_weights(checkpoint / WEIGHTS)
    card = build_card(checkpoint, repo_id=repo_id, notes=Path(notes) if notes else None, metrics=found)
    _check_loads(checkpoint)
    for name in CHECKPOINT_FILES:
        if (checkpoint / name).is_file():
            shutil.copyfile(checkpoint / name, folder / name)
        elif name == SEEN_TEXTS:
            remarks.append(f"{checkpoint} has no {SEEN_TEXTS}, so its tweets may repeat training texts")
        else:
            raise PublishError(f"{checkpoint} has no {name}; save the checkpoint again.")
    for source in sorted(CODE.glob("*.py")):
        if source.name != "__init__.py":
            shutil.copyfile(source, folder / source.name)
    if found:
        text = json.dumps(found, ensure_ascii=False, indent=2)
        (folder / METRICS).write_text(text + "\n", encoding="utf-8")
    (folder / CARD).write_text(str(card), encoding="utf-8")
    check_texts(folder.iterdir())
    return card, remarks


def check_texts(files: Iterable[Path]) -> None:
    """Raise PublishError if a file holds a token: this account's, or what looks like one."""
    own = get_token()
    for path in files:
        if not path.is_file():
            continue
        text = path.read_bytes().decode("utf-8", "replace")
        if (own and own in text) or (path.suffix != ".safetensors" and TOKEN.search(text)):
            raise PublishError(f"{path.name} holds a token; take it out, and revoke it if it was ever shared.")


def _check_weights(path: Path) -> None:
    """Raise PublishError unless every weight is a finite number, and the file says nothing else."""
    try:
        with safe_open(path, "pt") as weights:
            if set(weights.metadata() or ()) - {"format"}:
                raise PublishError(f"{path} has notes of its own in its header; save the checkpoint again.")
            for name in weights.keys():
                tensor = weights.get_tensor(name)
                if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                    raise PublishError(
                        f"{path} has weights that are no numbers ({name}); train on from an earlier one."
                    )
    except (OSError, SafetensorError) as error:
        raise PublishError(f"{path} is no whole file of weights ({error}); save the checkpoint again.") from error


def _check_loads(checkpoint: Path) -> None:
    """Raise PublishError unless the checkpoint loads whole, names its code, and its other files hold no texts."""
    try:
        writer = TweetWriter.from_pretrained(checkpoint, device="cpu")
    except ValueError as error:
        raise PublishError(" ".join(str(error).split())) from error
    auto_map = json.loads((checkpoint / CONFIG).read_text(encoding="utf-8")).get("auto_map") or {}
    if any(name not in auto_map for name in AUTO_CLASSES):
        raise PublishError(
            f"{checkpoint / CONFIG} has no auto_map, so nobody without the package could load it; "
            "save it with tweetcap.model.save_checkpoint."
        )
    for word in writer.tokenizer.get_vocab():
        if any(pattern.search(word) for pattern in (EMAIL, HANDLE, URL)):
            raise PublishError(
                f"{checkpoint} has {word!r} in its vocabulary; take handles and addresses out of the texts."
            )
    seen = checkpoint / SEEN_TEXTS
    if seen.exists():
        # Written again, hashes give the same bytes; anything else in the file doesn't survive.
        with tempfile.NamedTemporaryFile() as again:
            SeenTexts.load(seen).save(again.name)
            if Path(again.name).read_bytes() != seen.read_bytes():
                raise PublishError(f"{seen} holds more than hashes; make it again with SeenTexts.save.")
