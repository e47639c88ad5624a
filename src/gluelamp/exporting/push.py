"""Upload of an export to the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from gluelamp.errors import InputError


def check_token(repository: str) -> None:
    """Refuse an upload without a token of the hub, before anything is written.

    Args:
        repository: as for `push`.

    Raises:
        InputError: if there is no token, or if the name is not allowed.
    """
    from huggingface_hub import get_token
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise InputError(f"push={repository!r} is not allowed: give ORG/NAME.") from error
    if not get_token():
        raise InputError(
            f"push={repository} needs a token of the Hugging Face hub: run `hf auth login`, or set HF_TOKEN."
        )


def push(folder: Path, repository: str) -> str:
    """Upload a folder to a repository on the hub. A new repository is private.

    Args:
        folder: of an export.
        repository: such as ``ORG/NAME``; files of equal names in it are replaced.

    Returns:
        The address of the repository.

    Raises:
        InputError: if the hub cannot be reached, or refuses.
    """
    from huggingface_hub import HfApi

    try:
        api = HfApi()
        url = api.create_repo(repository, private=True, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=folder, commit_message="Export from gluelamp")
    except Exception as error:  # the client of the hub raises exceptions of many libraries
        reason = " ".join(str(error).split())
        raise InputError(
            f"{repository} could not be uploaded ({type(error).__name__}: {reason}). The exported files "
            f"are in {folder}. Upload them with: hf upload {repository} {folder}"
        ) from error
    return str(url)
