"""python -m benchmarks.precision: what it compares, and on which images."""

import torch
from torch import Tensor, nn

from benchmarks.precision import compare, split


class Classes(nn.Module):
    """The first value of an image is its class, but of some images another one."""

    def __init__(self, wrong: tuple[int, ...] = ()):
        super().__init__()
        self.wrong = torch.tensor(wrong)

    def forward(self, images: Tensor) -> Tensor:
        numbers = images[:, 0, 0, 0].long()
        return nn.functional.one_hot(torch.where(torch.isin(numbers, self.wrong), 0, numbers), 10).float()


def test_calibration_and_evaluation_share_no_image() -> None:
    calibration, evaluation = split(23)
    assert sorted(calibration + evaluation) == list(range(23))
    assert len(calibration) == 5


def test_accuracy_and_agreement() -> None:
    images = torch.arange(10.0)[:, None, None, None]
    ways = {"plain": ("torch", Classes((9,))), "int8": ("onnxruntime", Classes((8, 9)))}
    plain, int8 = compare(ways, images, torch.arange(10), 4)
    assert (plain.images, round(plain.accuracy, 6), plain.agreement, plain.faster) == (10, 0.9, 1.0, 1.0)
    assert (int8.backend, round(int8.accuracy, 6), round(int8.agreement, 6)) == ("onnxruntime", 0.8, 0.9)
    assert int8.faster > 0
