"""What every model of the zoo publishes, whatever is inside."""

from typing import Any

from torch import nn

from saccade.nn.tokens import TokenLayout


class Model(nn.Module):
    """A network with its config.

    Attributes:
        config: a frozen dataclass with `to_dict()` and `from_dict()`, from which the network can be built again.
    """

    config: Any

    def token_layout(self, image_size: tuple[int, int] | None = None) -> TokenLayout:
        """How tokens lie over an image of (H, W) pixels, the config's size unless given."""
        raise TypeError(f"{type(self).__name__} has no tokens")
