"""What everything that talks to the Hub shares: names, sentences for what fails, a checkpoint's files, repositories.

    fetch_checkpoint("ORG/NAME", ["config.json", "model.safetensors"], revision="main")  # their folder in the cache

The token is an argument, HF_TOKEN, or that of `hf auth login`; it is in no message.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx
import httpx2  # what huggingface_hub talks through, and whose errors it lets pass
from filelock import FileLock
from huggingface_hub import (
    HfApi,
    RepoCard,
    ResolvedRevision,
    constants,
    get_hf_file_metadata,
    get_token,
    hf_hub_download,
    hf_hub_url,
    snapshot_download,
    try_to_load_from_cache,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RevisionNotFoundError,
    RevisionResolutionError,
)
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils import build_hf_headers, validate_repo_id

from tweetcap.data.download import TIMEOUT, DownloadError, download

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
# What a call of huggingface_hub may raise; the requests' errors are OSErrors too.
FAILURES = (
    OSError,
    RuntimeError,
    httpx2.HTTPError,
    RevisionResolutionError,
    EntryNotFoundError,
    HFValidationError,
    UnicodeEncodeError,
)
SHA256 = re.compile(r"[0-9a-f]{64}")


class HubError(ValueError):
    """The Hub can't give or take what was asked; the message is one sentence that says why and what to do."""


class PublishError(HubError):
    """It can't be published; the message is one sentence that says why and what to do."""


# --- Names and sentences --------------------------------------------------------------------------


def split_revision(name: str) -> tuple[str, str | None]:
    """Return the repository and the revision of `ORG/NAME@REVISION`, None where none is named.

    Raises:
        HubError: it is no name on the Hub.
    """
    repo_id, _, revision = name.partition("@")
    try:
        validate_repo_id(repo_id)
    except HFValidationError:
        raise HubError(f"{name} is no folder and no name on the Hub; give a folder, or ORG/NAME.") from None
    if "@" in name and not revision:
        raise HubError(f"{name} names no revision behind its @; give a branch, a tag or a commit, or leave out the @.")
    return repo_id, revision or None


def explain(repo_id: str, error: Exception, *, revision: str | None = None, writing: bool = False) -> str:
    """Return a sentence for what went wrong; the token is taken out, wherever a message may have it."""
    # These say no more than that there is nothing in the cache either, or which file it was about.
    while isinstance(error, (LocalEntryNotFoundError, RevisionResolutionError, RuntimeError)) and error.__cause__:
        error = error.__cause__
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None) or getattr(error, "status", None)
    headers = getattr(response, "headers", {})
    done = "written to" if writing else "read"
    if isinstance(error, UnicodeEncodeError):  # of a header, and the token is the one that users write
        return "the token has characters that no token has; run `hf auth login`, or set HF_TOKEN anew."
    if isinstance(error, GatedRepoError):
        return f"{repo_id} has terms to accept first; do so on its page on the Hub, and set HF_TOKEN."
    if headers.get("X-Error-Message") == "Invalid credentials in Authorization header":
        return f"{repo_id} can't be {done}: the Hub doesn't know this token; run `hf auth login`, or set HF_TOKEN anew."
    if isinstance(error, LocalTokenNotFoundError) or (status == 401 and writing):
        return f"{repo_id} can't be written to without a token; run `hf auth login`, or set HF_TOKEN."
    if status == 401:
        return f"{repo_id} is no folder here, and on the Hub not there or private; check the name, or set HF_TOKEN."
    if status == 403:
        right = "write" if writing else "read"
        return f"{repo_id} may not be {done} with this token; make one with the right to {right} there."
    if isinstance(error, RevisionNotFoundError):
        named = f"revision {revision}" if revision else "such revision"
        return f"{repo_id} has no {named}; give the name of a branch" + ("." if writing else ", a tag or a commit.")
    if isinstance(error, EntryNotFoundError) and status == 404:
        return f"{repo_id} holds no TweetCap checkpoint (it has no {CONFIG}); check the name and the revision."
    if status == 404 and writing:
        return f"{repo_id} is not on the Hub, or this token may not see it; check the name."
    if status == 404:
        return f"{repo_id} is no folder here, and on the Hub not there, or this token may not see it; check the name."
    if status == 429:
        wait = headers.get("Retry-After", "").strip()
        return f"the Hub was asked too often; try again {f'in {wait} s' if wait.isdecimal() else 'later'}."
    if status is not None and status >= 500:
        return f"the Hub answered {status} for {repo_id}; try again later."
    if isinstance(error, (OfflineModeIsEnabled, LocalEntryNotFoundError, RevisionResolutionError)):
        if writing:
            return "the Hub is switched off by HF_HUB_OFFLINE; unset it to push."
        what = f"{repo_id}@{revision}" if revision else repo_id
        return f"{what} is no folder here and not whole in the Hub's cache; load it once with the Hub switched on."
    if isinstance(error, (httpx2.TransportError, httpx.TransportError, ConnectionError)):
        kept = "what was sent is kept, run the same command again" if writing else "what came is kept, try again"
        return f"the Hub can't be reached ({type(error).__name__}); {kept}."
    token = get_token()
    message = " ".join(str(error).split())
    return f"{repo_id}: {message.replace(token, '…') if token else message}"


# --- From the Hub ---------------------------------------------------------------------------------


def fetch_checkpoint(
    name: str,
    files: Sequence[str],
    *,
    revision: str | None = None,
    token: str | None = None,
    local_files_only: bool = False,
) -> Path:
    """Return the folder in the Hub's cache that has a checkpoint's files, all of one commit; fetch those that lack.

    Of the repository only `files` are fetched, so no code. What came of the weights is kept by a cut or kill -9, and
    the next call asks for the rest; huggingface_hub 2.4 begins such a file again. Without the Hub, what is in the
    cache serves.

    Args:
        name: `ORG/NAME`, or `ORG/NAME@REVISION`.
        files: names of files; those that the repository lacks are left out.
        revision: branch, tag or commit.
        local_files_only: don't ask the Hub, as HF_HUB_OFFLINE=1.

    Raises:
        HubError: there is no such checkpoint, or it can't be had now.
    """
    repo_id, named = split_revision(name)
    if named and revision and named != revision:
        raise HubError(f"{name} names another revision than {revision}; give one of them.")
    revision = revision or named
    try:
        commit = HfApi(token=token).resolve_revision(repo_id, revision=revision, local_files_only=local_files_only)
        options = {"revision": commit, "token": token, "local_files_only": local_files_only}
        # First of all: another kind of model may have many GB of weights.
        check_config(hf_hub_download(repo_id, CONFIG, **options), name)
        if not local_files_only and not constants.is_offline_mode() and WEIGHTS in files:
            _fetch_weights(repo_id, commit, token)
        return Path(snapshot_download(repo_id, allow_patterns=list(files), **options))
    except DownloadError as error:
        if error.status is None:
            raise HubError(str(error)) from None
        raise HubError(explain(repo_id, error, revision=revision)) from None
    except FAILURES as error:
        raise HubError(explain(repo_id, error, revision=revision)) from None


def check_config(path: str | Path, name: str) -> None:
    """Raise HubError unless the config file is that of a TweetCap checkpoint."""
    try:
        kind = json.loads(Path(path).read_text(encoding="utf-8"))["model_type"]
    except (OSError, ValueError, KeyError, TypeError):
        kind = None
    if kind != "tweetcap":
        reason = f"its {CONFIG} names {kind}" if kind else f"it has no {CONFIG} with a model_type"
        raise HubError(f"{name} holds no TweetCap checkpoint ({reason}); give a folder or a Hub id.")


def _fetch_weights(repo_id: str, commit: ResolvedRevision, token: str | None) -> None:
    """Put the weights where huggingface_hub looks for them: among the cache's blobs, named by their SHA-256."""
    if isinstance(try_to_load_from_cache(repo_id, WEIGHTS, revision=commit.resolved), str):
        return
    url = hf_hub_url(repo_id, WEIGHTS, revision=commit.resolved)
    metadata = get_hf_file_metadata(url, token=token, retry_on_errors=True)
    digest = metadata.etag or ""
    if not SHA256.fullmatch(digest):  # no large file: git's own hash, and nothing worth resuming
        return
    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo_id, repo_type="model")
    lock = Path(constants.HF_HUB_CACHE, ".locks", folder.name, f"{digest}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    # The address is the Hub's; where it sends us, another host perhaps, gets no token from httpx.
    headers = build_hf_headers(token=token)
    with FileLock(lock), httpx.Client(headers=headers, timeout=TIMEOUT, follow_redirects=True) as client:
        download(url, folder / "blobs" / digest, size=metadata.size, sha256=digest, client=client)


# --- To the Hub -----------------------------------------------------------------------------------


def check_name(repo_id: str, kind: str) -> None:
    """Raise PublishError unless a repository may be called so."""
    if repo_id.count("/") > 1:
        raise PublishError(f"{repo_id} is no name of a {kind}; give organisation/name.")
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise PublishError(f"{repo_id} is no name of a {kind} ({error}).") from error


def push_folder(
    folder: Path,
    repo_id: str,
    kind: str,
    card: RepoCard,
    *,
    private: bool,
    revision: str | None = None,
    ignore: Sequence[str] = (),
    delete: Sequence[str] = (),
    message: str,
    variables: Mapping[str, str | None] | None = None,
) -> tuple[str, str | None]:
    """Upload a folder to a repository, which is made if it isn't there.

    Args:
        repo_id: `name` or `organisation/name`.
        kind: model, dataset or space.
        card: the folder's, which the Hub is asked to check before anything is made.
        revision: branch, made if it isn't there.
        ignore: patterns of files that stay here.
        delete: patterns of files that go from the branch where the folder hasn't them; its history keeps them.
        variables: environment of a Space; None takes one of an earlier push away.

    Returns:
        The address, and what could not be checked, if anything.

    Raises:
        PublishError: the Hub refuses, can't be reached, or has a public repository of that name that was to be private.
    """
    check_name(repo_id, kind)
    try:
        remark = _validate_online(card, kind)
        api = HfApi()
        options = {"space_sdk": "gradio"} if kind == "space" else {}
        created = api.create_repo(repo_id, repo_type=kind, private=private, exist_ok=True, **options)
        repo_id, address = created.repo_id, created.url
        if private and not api.repo_info(repo_id, repo_type=kind).private:
            raise PublishError(f"{repo_id} is there already, for everyone to see; make it private on its page first.")
        if revision is not None:
            api.create_branch(repo_id, branch=revision, repo_type=kind, exist_ok=True)
            address += f"/tree/{revision}"
        variables = variables or {}
        for key, value in variables.items():
            if value is not None:
                api.add_space_variable(repo_id, key, value)
        # Goes on after a cut, and cuts what is large into several commits.
        api.upload_folder(
            repo_id=repo_id,
            repo_type=kind,
            revision=revision,
            folder_path=folder,
            ignore_patterns=list(ignore),
            delete_patterns=list(delete),
            commit_message=message,
        )
        for key in (key for key, value in variables.items() if value is None):
            if key in api.get_space_variables(repo_id):
                api.delete_space_variable(repo_id, key)
    except FAILURES as error:
        raise PublishError(explain(repo_id, error, writing=True)) from None
    return address, remark


def _validate_online(card: RepoCard, kind: str) -> str | None:
    """Let the Hub check a card; return a remark where it can't be asked."""
    try:
        card.validate(repo_type=kind)
    except ValueError as error:
        raise PublishError(f"the Hub refuses the card: {' '.join(str(error).split())}") from error
    except (HfHubHTTPError, httpx2.HTTPError) as error:
        return f"the Hub could not check the card ({type(error).__name__})"
    return None
