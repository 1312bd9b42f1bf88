"""`saccade serve` with a planted leak: every request stays in memory. The row `memory` must notice it."""

import sys
from typing import Any

from saccade.cli.main import main
from saccade.serving.served_model import ServedModel

KEPT: list[Any] = []


class LeakyModel(ServedModel):
    """Keeps what it was sent, as a cache without a limit does."""

    def prepare(self, content: bytes | str) -> Any:
        KEPT.append(bytearray(content) if isinstance(content, bytes) else content)
        return super().prepare(content)


if __name__ == "__main__":
    import saccade.serving.loading

    saccade.serving.loading.ServedModel = LeakyModel  # type: ignore[misc]
    sys.exit(main(sys.argv[1:]))
