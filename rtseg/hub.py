"""Files of the Hugging Face hub: asked for once, and taken from an earlier download where the hub does not answer.

An id follows its owner: 'owner/name' is the newest commit, and a line says where that has changed since it was last
loaded here. 'owner/name@commit' is always the same.
"""

import os
from pathlib import Path
from typing import Any

from rtseg.errors import UserError, first_line
from rtseg.terminal import say

_PATIENCE = 5.0  # seconds for the hub's first answer; the variable of huggingface_hub's own changes it
_MOST, _MOST_OF_A_CARD = 2 * 2**30, 4 * 2**20  # bytes that a file may have, by the hub's statement
_OF_AN_ADDRESS = ("revision", "endpoint", "repo_type", "subfolder")


def fetch(repo: str, *files: str, **hub: Any) -> Path:
    """The folder on this machine that holds files of a repository, downloaded where they are new.

    `hf_hub_download` alone asks a hub that cannot be reached six times, for up to 100 seconds, a line each. Here it is
    asked once, and then only for what can be had.

    Args:
        repo: 'owner/name', or 'owner/name@revision': a branch, a tag or a commit.
        files: names in the repository.
        hub: of `huggingface_hub.hf_hub_download`, e.g. revision, token.

    Raises:
        UserError: the hub has no such repository or file, or a larger one than is taken, or it does not answer and
            nothing was downloaded earlier. The message has no subject: "the hub ...".
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

    unanswered = ""
    name = ""
    repo, _, revision = repo.partition("@")
    hub = ({"revision": revision} if revision else {}) | hub
    before = _here(repo, files[0], hub)
    try:
        for name in [] if hub.get("local_files_only") else files:
            address = hf_hub_url(repo, name, **{key: hub[key] for key in _OF_AN_ADDRESS if key in hub})
            patience = float(os.environ.get("HF_HUB_ETAG_TIMEOUT", _PATIENCE))
            _check_size(name, get_hf_file_metadata(address, token=hub.get("token"), timeout=patience).size)
    except UserError:
        raise
    except RepositoryNotFoundError:
        raise UserError(
            "the Hugging Face hub has no network of that name, or it is private and needs a token (`hf auth login`)"
        ) from None
    except RevisionNotFoundError:
        raise UserError(f"the Hugging Face hub has no revision '{hub.get('revision')}' of it") from None
    except EntryNotFoundError:
        raise UserError(f"the Hugging Face hub has it without a {name}: rtseg did not write it") from None
    except Exception as error:  # each HTTP library has errors of its own
        unanswered = first_line(error)
        hub = {**hub, "local_files_only": True}
    try:
        found = [Path(hf_hub_download(repo, name, **hub)) for name in files]
    except Exception as error:
        if unanswered:
            raise UserError(f"the Hugging Face hub does not answer ({unanswered})") from None
        raise UserError(f"the Hugging Face hub does not give it ({first_line(error)})") from None
    _say_if_changed(repo, before, found[0].parent)
    return found[0].parent


def check_login() -> None:
    """Raises: UserError where nobody is logged in to the hub on this machine."""
    from huggingface_hub import get_token

    if not get_token():
        raise UserError("nobody is logged in to the Hugging Face hub here: run `hf auth login`, or set HF_TOKEN")


def upload(folder: Path, repo: str, *, private: bool) -> str:
    """Sends the files of a folder to a repository as one commit, and makes the repository where there is none.

    Returns:
        The address of the repository.

    Raises:
        UserError: the hub does not answer, or it refuses; or the repository shall be private and is public.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

    hub = HfApi()
    try:
        try:
            is_private = hub.repo_info(repo, timeout=_PATIENCE).private
        except RepositoryNotFoundError:  # or one that this user may not see, which the next line is told
            hub.create_repo(repo, private=private)
        else:
            if private and not is_private:
                raise UserError(
                    f"'{repo}' is on the Hugging Face hub and public: make it private in its settings there, or give "
                    "another name"
                )
        hub.upload_folder(repo_id=repo, folder_path=folder, commit_message="Weights written by rtseg")
    except UserError:
        raise
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            owner = repo.partition("/")[0]
            raise UserError(
                f"the Hugging Face hub does not let you write to '{repo}' ({status}): log in with a token that may "
                f"write for {owner} (`hf auth login`)"
            ) from None
        raise UserError(f"the Hugging Face hub refuses '{repo}': {first_line(error)}") from None
    except Exception as error:  # each HTTP library has errors of its own
        raise UserError(f"the Hugging Face hub did not take '{repo}': {first_line(error)}; try again") from None
    return f"{hub.endpoint}/{repo}"


def _check_size(name: str, size: int | None) -> None:
    most = _MOST_OF_A_CARD if name.endswith(".json") else _MOST
    if size is not None and size > most:
        raise UserError(
            f"the Hugging Face hub has it with a {name} of {size} bytes, and more than {most} are not taken: rtseg did "
            "not write it"
        )


def _here(repo: str, file: str, hub: dict[str, Any]) -> Path | None:
    """The folder of the commit that was loaded here last, named by the commit."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repo, file, cache_dir=hub.get("cache_dir"), revision=hub.get("revision"))
    return Path(found).parent if isinstance(found, str) else None


def _say_if_changed(repo: str, before: Path | None, now: Path) -> None:
    if before is not None and before != now and before.parent == now.parent:
        say(
            f"'{repo}' has changed on the hub since it was last loaded here: it was {before.name}, it is {now.name}. "
            f"'{repo}@{before.name}' is the one from before",
            stderr=True,
        )
