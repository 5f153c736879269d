"""Which model answers: its name without a path of this machine, and which version of its weights."""

import hashlib
from pathlib import Path

from transformers.utils import SAFE_WEIGHTS_NAME

from tweetcap.write.writer import EMBEDDED


def identify(writer) -> dict[str, str | None]:
    """Return {"model", "revision"} of a writer.

    model: the Hub id, or the folder's name. revision: the Hub's commit, or `sha256:` and the first digits of the
    weights' hash; None where neither is known.
    """
    model = getattr(writer, "model", None)
    if not getattr(model, "name_or_path", None):
        return {"model": type(writer).__name__, "revision": None}
    commit = getattr(model.config, "_commit_hash", None)
    if commit:
        return {"model": model.name_or_path, "revision": commit}
    folder = Path(model.name_or_path)
    weights = folder / SAFE_WEIGHTS_NAME
    name = "tweetcap/checkpoint" if folder == EMBEDDED else folder.resolve().name
    return {"model": name, "revision": digest(weights) if weights.exists() else None}


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()[:12]}"
