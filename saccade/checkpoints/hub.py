"""Checkpoints from the Hugging Face hub: `hub:ORG/NAME`, or `hub:ORG/NAME@REVISION`.

Nothing is downloaded unless the name begins with `hub:`. The hub's own settings hold: HF_HOME (where files are kept),
HF_HUB_OFFLINE=1 (only what is there already), HF_ENDPOINT, HF_TOKEN.
"""

import re
from pathlib import Path

from saccade.checkpoints.reading import has_weights
from saccade.errors import CheckpointError

SCHEME = "hub:"
# Pickles are fetched only where there is nothing better; they are opened with the weights-only reader all the same.
WANTED = (["*.json", "*.safetensors", "*.npz"], ["*.json", "*.bin", "*.pth"])


def is_hub_name(path: str | Path) -> bool:
    return str(path).startswith(SCHEME)


def download(name: str) -> Path:
    """The folder with the repository's weights and JSON files, downloaded if it is not there yet.

    Raises:
        CheckpointError: no such repository, no network, or the extra `hub` is not installed.
    """
    match = re.fullmatch(r"hub:([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", name)
    if match is None:
        raise CheckpointError(f"{name!r} is no hub name: write hub:ORG/NAME or hub:ORG/NAME@REVISION")
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ImportError:
        raise CheckpointError("hub: needs huggingface_hub: pip install 'saccade[hub]'") from None
    repository, revision = match[1], match[2]
    for patterns in WANTED:
        try:
            folder = Path(snapshot_download(repository, revision=revision, allow_patterns=patterns))
        except LocalEntryNotFoundError:
            raise CheckpointError(
                f"{repository} is not on this machine and the hub cannot be reached: go online once, or give a path"
            ) from None
        except HFValidationError as error:
            raise CheckpointError(f"{name!r} is no hub name: {error}") from None
        except HfHubHTTPError as error:
            raise CheckpointError(f"the hub does not give {repository}: {str(error).splitlines()[0]}") from None
        if has_weights(folder):
            return folder
    raise CheckpointError(f"{repository} on the hub holds no weights ({', '.join(WANTED[0] + WANTED[1][1:])})")
