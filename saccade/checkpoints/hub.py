"""Checkpoints from the Hugging Face hub: `hub:ORG/NAME`, or `hub:ORG/NAME@REVISION`.

Nothing is downloaded unless the name begins with `hub:`. The settings of huggingface_hub apply: HF_HOME (cache folder),
HF_HUB_OFFLINE=1 (cached files only), HF_ENDPOINT, HF_TOKEN.
"""

import re
from pathlib import Path

from saccade.checkpoints.reading import has_weights
from saccade.errors import CheckpointError

SCHEME = "hub:"
# Pickles are downloaded only if there is nothing safer, and are opened by the weights-only reader in any case.
PATTERNS = (["*.json", "*.safetensors", "*.npz"], ["*.json", "*.bin", "*.pth"])


def is_hub_name(path: str | Path) -> bool:
    return str(path).startswith(SCHEME)


def download(name: str) -> Path:
    """The folder with the weights and JSON files of a repository, downloaded unless it is cached.

    Raises:
        CheckpointError: no such repository, no network, or the extra `hub` is not installed.
    """
    match = re.fullmatch(r"hub:([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", name)
    if match is None:
        raise CheckpointError(f"{name!r} is not a hub name: use hub:ORG/NAME or hub:ORG/NAME@REVISION")
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ImportError:
        raise CheckpointError("hub: needs huggingface_hub: pip install 'saccade[hub]'") from None
    repository, revision = match[1], match[2]
    for patterns in PATTERNS:
        try:
            folder = Path(snapshot_download(repository, revision=revision, allow_patterns=patterns))
        except LocalEntryNotFoundError:
            raise CheckpointError(
                f"{repository} is not cached and the hub cannot be reached: connect once, or give a path"
            ) from None
        except HFValidationError as error:
            raise CheckpointError(f"{name!r} is not a hub name: {error}") from None
        except HfHubHTTPError as error:
            raise CheckpointError(f"{repository} cannot be downloaded: {str(error).splitlines()[0]}") from None
        if has_weights(folder):
            return folder
    raise CheckpointError(f"{repository} on the hub contains no weights ({', '.join(PATTERNS[0] + PATTERNS[1][1:])})")
