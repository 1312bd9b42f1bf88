"""Memory allocator settings of the command-line process."""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
LARGEST_MMAP_THRESHOLD = 32 << 20  # glibc takes no more
TRIM_THRESHOLD = 1 << 30


def keep_freed_memory() -> bool:
    """Let glibc's malloc reuse large blocks that were freed, instead of returning them to the kernel.

    A network frees and allocates its activations at every step; as new pages of the kernel each costs a page fault and
    the zeroing of 4 KiB. Only for Saccade's own processes: a library does not change its host's allocator.

    Returns:
        Whether it took effect; other C libraries have no such settings.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD) == 1 and mallopt(M_TRIM_THRESHOLD, TRIM_THRESHOLD) == 1
