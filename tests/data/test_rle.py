"""Run-length encoding of masks, against COCO's own code."""

import numpy as np
import pytest

from saccade.data.rle import decode_rle, encode_rle


@pytest.mark.parametrize("threshold", [-1.0, 0.2, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_encoding_is_cocos(seed: int, threshold: float) -> None:
    coco = pytest.importorskip("pycocotools.mask")
    mask = np.random.default_rng(seed).random((7, 9)) > threshold
    rle = encode_rle(mask)
    assert coco.frPyObjects(rle, 7, 9) == coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert decode_rle(rle).shape == (7, 9)
    assert (decode_rle(rle) == mask).all()
