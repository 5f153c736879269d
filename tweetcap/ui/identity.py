"""Which model answers: its name without a path of this machine, and which version of its weights."""

import hashlib
from pathlib import Path

from huggingface_hub import try_to_load_from_cache
from transformers.utils import SAFE_WEIGHTS_NAME

from tweetcap.write.writer import EMBEDDED


def identify(writer) -> dict[str, str | None]:
    """Return {"model", "revision"} of a writer.

    model: the Hub id, or the folder's name. revision: the Hub's commit, or `sha256:` and the first digits of the
    weights' hash; None where neither is known.
    """
    source = getattr(getattr(writer, "model", None), "name_or_path", None)
    if not source:
        return {"model": type(writer).__name__, "revision": None}
    folder = Path(source)
    if folder.is_dir():
        weights = folder / SAFE_WEIGHTS_NAME
        model = "tweetcap/checkpoint" if folder == Path(EMBEDDED) else folder.resolve().name
        return {"model": model, "revision": digest(weights) if weights.exists() else None}
    config = try_to_load_from_cache(source, "config.json")
    return {"model": source, "revision": Path(config).parent.name if isinstance(config, str) else None}


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()[:12]}"
