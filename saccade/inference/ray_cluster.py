"""Ray, connected to a cluster. The extra `ray`."""

import os
from typing import Any

from saccade.errors import ConfigError


def start_ray(address: str | None) -> Any:
    """Ray, connected to a running or a new local cluster.

    Args:
        address: HOST:PORT, or auto for a running local cluster; a new local cluster by default.

    Raises:
        ConfigError: Ray is missing, or there is no cluster at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to anyone unless the user wants it
    try:
        import ray
    except ImportError:
        raise ConfigError("--ray needs one more package: pip install 'saccade[ray]'") from None
    try:
        ray.init(address=address, include_dashboard=None if address else False, log_to_driver=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConfigError(f"there is no Ray cluster at {address or 'this machine'}: {error}") from None
    return ray
