"""A limited address space (``ulimit -v``): whether the libraries of a command fit into it.

Some of them end the process without an exception if they cannot be loaded, so a child process loads them first.
"""

import mmap
import os
import resource

MARGIN = 2**29  # bytes for a command besides its libraries


def limit() -> int | None:
    """Bytes of address space that this process may use; None for no limit."""
    soft = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if soft == resource.RLIM_INFINITY else soft


def holds_libraries() -> bool:
    """Whether a child process with the same limits can load PyTorch and its libraries; takes as long as loading
    them."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            for descriptor in (1, 2):
                os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
            _load()
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1] == 0


def _load() -> None:
    import torch
    import torchvision.transforms.v2  # noqa: F401

    import saccade.engine.predictor  # noqa: F401

    torch.zeros(8).sum()
    mmap.mmap(-1, MARGIN).close()
