"""Errors of the processes that load data: one line, with the name of the file."""

import os
import signal
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from saccade.data.workers import worker_errors
from saccade.errors import DataError, ImageError


class Broken(Dataset):
    """Five samples, the third of which is a broken image or kills its process."""

    def __init__(self, kill: bool):
        self.kill = kill

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> torch.Tensor:
        if index == 2 and self.kill:
            os.kill(os.getpid(), signal.SIGKILL)
        if index == 2:
            raise ImageError("photos/cat/2.png is damaged or cut off: a reason: another")
        return torch.zeros(1)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_image_is_one_line_with_its_name(workers: int) -> None:
    with pytest.raises(ImageError) as caught, worker_errors():
        list(DataLoader(Broken(kill=False), num_workers=workers))
    assert str(caught.value) == "photos/cat/2.png is damaged or cut off: a reason: another"


def test_a_killed_worker_is_one_line() -> None:
    with pytest.raises(DataError, match=r"^DataLoader worker \(pid.*--workers 0$") as caught, worker_errors():
        list(DataLoader(Broken(kill=True), num_workers=2))
    assert "\n" not in str(caught.value)


def test_other_errors_pass(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"^mine$"), worker_errors():
        raise RuntimeError("mine")
