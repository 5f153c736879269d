"""Which model answers: its name without a path of this machine, and which version of its weights."""

import hashlib
from pathlib import Path

from transformers.utils import SAFE_WEIGHTS_NAME

from tweetcap.write.writer import EMBEDDED


def identify(writer) -> dict[str, str | None]:
    """Return {"model", "revision"} of a writer; the revision reads its weights."""
    return {"model": model_name(writer), "revision": revision(writer)}


def model_name(writer) -> str:
    """Return the Hub id, or the folder's name."""
    model = getattr(writer, "model", None)
    if not getattr(model, "name_or_path", None):
        return type(writer).__name__
    if getattr(model.config, "_commit_hash", None):
        return model.name_or_path
    folder = Path(model.name_or_path)
    return "tweetcap/checkpoint" if folder == EMBEDDED else folder.resolve().name


def revision(writer) -> str | None:
    """Return the Hub's commit, or `sha256:` and the first digits of the weights' hash; None where neither is known."""
    model = getattr(writer, "model", None)
    if not getattr(model, "name_or_path", None):
        return None
    weights = Path(model.name_or_path) / SAFE_WEIGHTS_NAME
    return getattr(model.config, "_commit_hash", None) or (digest(weights) if weights.exists() else None)


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()[:12]}"
