"""Files of the Hugging Face hub: asked for once, and taken from an earlier download where the hub does not answer."""

import os
from pathlib import Path
from typing import Any

from rtseg.errors import UserError, first_line

_PATIENCE = 5.0  # seconds for the hub's first answer; the variable of huggingface_hub's own changes it
_OF_AN_ADDRESS = ("revision", "endpoint", "repo_type", "subfolder")


def fetch(repo: str, *files: str, **hub: Any) -> Path:
    """The folder on this machine that holds files of a repository, downloaded where they are new.

    `hf_hub_download` alone asks a hub that cannot be reached six times, for up to 100 seconds, a line each. Here it is
    asked once, and then only for what can be had.

    Args:
        repo: 'owner/name'.
        files: names in the repository.
        hub: of `huggingface_hub.hf_hub_download`, e.g. revision, token.

    Raises:
        UserError: the hub has no such repository or file, or it does not answer and nothing was downloaded earlier. The
            message has no subject: "the hub ...".
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

    unanswered = ""
    try:
        if not hub.get("local_files_only"):
            address = hf_hub_url(repo, files[0], **{key: hub[key] for key in _OF_AN_ADDRESS if key in hub})
            patience = float(os.environ.get("HF_HUB_ETAG_TIMEOUT", _PATIENCE))
            get_hf_file_metadata(address, token=hub.get("token"), timeout=patience)
    except RepositoryNotFoundError:
        raise UserError(
            "the Hugging Face hub has no network of that name, or it is private and needs a token (`hf auth login`)"
        ) from None
    except RevisionNotFoundError:
        raise UserError(f"the Hugging Face hub has no revision '{hub.get('revision')}' of it") from None
    except EntryNotFoundError:
        raise UserError(f"the Hugging Face hub has it without a {files[0]}: rtseg did not write it") from None
    except Exception as error:  # each HTTP library has errors of its own
        unanswered = first_line(error)
        hub = {**hub, "local_files_only": True}
    try:
        found = [Path(hf_hub_download(repo, name, **hub)) for name in files]
    except Exception as error:
        if unanswered:
            raise UserError(f"the Hugging Face hub does not answer ({unanswered})") from None
        raise UserError(f"the Hugging Face hub does not give it ({first_line(error)})") from None
    return found[0].parent
