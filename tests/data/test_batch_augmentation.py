"""Augmentation of whole batches: the same for any number of processes, and each part does what it says."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from saccade.data.augmentation import EvalTransform, PixelTransform
from saccade.data.batch_augmentation import BatchAugmentation, crop_padded, erase, erasing_boxes
from saccade.data.batching import ResidentBatches, TrainBatches, TrainOrder, fits_device, image_dataset
from saccade.data.config import AugmentationConfig, DataConfig
from saccade.data.image_folder import open_data
from saccade.data.preprocessing import Preprocessing
from saccade.errors import ConfigError, ImageError
from tests.photos import batch_of, make_photos

HALF = Preprocessing((8, 8), crop_pct=1.0, mean=(0.5,) * 3, std=(0.5,) * 3)
RICH = AugmentationConfig(
    where="batch", crop_scale=None, pad_crop=2, flip=0.5, randaugment="2x9", color_jitter=0.3, erasing=0.5, mixup=0.5
)


def pixels(count: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("share", [8, 16, 24])
def test_processes_make_the_batch_of_one(share: int) -> None:
    images, augment = pixels(48), BatchAugmentation(RICH, HALF, 1, 3)
    whole = augment(batch_of(images), step=5, rows=slice(0, 48), batch_size=48)
    parts = [
        augment(batch_of(images).rows(rows), step=5, rows=rows, batch_size=48)
        for rows in (slice(start, start + share) for start in range(0, 48, share))
    ]
    assert torch.equal(torch.cat([part.inputs for part in parts]), whole.inputs)
    again = augment(batch_of(images), step=6, rows=slice(0, 48), batch_size=48)
    assert not torch.equal(again.inputs, whole.inputs)


def test_nothing_asked_for_is_preprocessing_alone() -> None:
    plain = AugmentationConfig(where="batch", crop_scale=None, flip=0.0)
    images = pixels(4)
    augment = BatchAugmentation(plain, HALF, 1, 0)
    expected = torch.stack([HALF(image.float() / 255) for image in images])
    made = augment(batch_of(images), step=0, rows=slice(0, 4), batch_size=4).inputs
    torch.testing.assert_close(made, expected, atol=1e-6, rtol=0)
    assert torch.equal(augment.plain(batch_of(images)).inputs, made)


def test_a_crop_moves_the_image_and_fills_with_black() -> None:
    images = pixels(2)
    moved = crop_padded(images, 2, torch.tensor([[2, 2], [0, 3]]))
    assert torch.equal(moved[0], images[0])
    assert torch.equal(moved[1, :, 2:, :7], images[1, :, :6, 1:])
    assert moved[1, :, :2].sum() == 0
    assert moved[1, :, :, 7].sum() == 0


def test_cutmix_pastes_a_rectangle_and_reaches_every_edge() -> None:
    """Row 0 is all 0, row 1 all 255: what of row 0 is 255 was pasted."""
    images = torch.stack([torch.zeros(3, 6, 9), torch.full((3, 6, 9), 255.0)]).to(torch.uint8)
    batch = batch_of(images)._replace(labels=torch.tensor([0, 1]))
    edges = torch.zeros(4, dtype=torch.bool)
    for step in range(60):
        mixed = BatchAugmentation(AugmentationConfig(cutmix=1.0), HALF, 2, 0)(
            batch, step=step, rows=slice(0, 2), batch_size=2
        )
        pasted = mixed.inputs[0, 0] > 0
        rows, columns = pasted.any(1), pasted.any(0)
        assert torch.equal(pasted, rows[:, None] & columns)
        assert max(rows.diff().sum(), columns.diff().sum()) <= 2  # without a hole
        assert mixed.labels[0, 1].item() == pytest.approx(pasted.float().mean().item())
        edges |= torch.tensor([rows[0], rows[-1], columns[0], columns[-1]])
    assert edges.all()


def test_about_the_asked_share_is_erased_inside_the_image() -> None:
    boxes = erasing_boxes(0.25, 4000, (32, 48), torch.Generator().manual_seed(0))
    sides = boxes[:, 1::2] - boxes[:, ::2]
    area = sides.prod(dim=1) / (32 * 48)
    assert (area > 0).float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert area.max() < 0.37
    assert boxes.min() >= 0
    assert boxes[:, 1].max() <= 32
    assert boxes[:, 3].max() <= 48
    erased = erase(torch.zeros(1, 1, 4, 4), torch.tensor([[1.0, 3.0, 0.0, 2.0]]), torch.ones(1, 4, 4))
    assert erased[0, 0].tolist() == [[0] * 4, [1, 1, 0, 0], [1, 1, 0, 0], [0] * 4]


def test_what_cannot_be_done_to_a_batch_is_said() -> None:
    with pytest.raises(ConfigError, match="crop_scale=null"):
        BatchAugmentation(AugmentationConfig(where="batch"), HALF, 2, 0)


def test_resident_batches_equal_loaded_ones(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos", count=9)
    train = open_data(str(photos), DataConfig(val_fraction=0, test_fraction=0)).train
    images = image_dataset(train, PixelTransform(HALF), (3, 8, 8))
    assert fits_device(images, (3, 8, 8))
    assert not fits_device(images, (3, 2**15, 2**15))
    assert not fits_device(image_dataset(train, EvalTransform(HALF), (3, 8, 8)), (3, 8, 8))
    order = TrainOrder(len(train), 6, 1, repeats=2)
    loaded = list(TrainBatches(images, order, start=2, stop=9, workers=0))
    resident = list(ResidentBatches(images, order, torch.device("cpu"), start=2, stop=9, workers=0))
    assert len(loaded) == len(resident) == 7
    for one, other in zip(loaded, resident):
        assert one.names == other.names
        assert all(
            torch.equal(a, b)
            for a, b in zip((one.inputs, one.classes, one.indices), (other.inputs, other.classes, other.indices))
        )


def test_a_broken_image_is_treated_as_in_the_loader(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos", count=80)
    (photos / "cat" / "3.png").write_bytes(b"no picture")
    train = open_data(str(photos), DataConfig(val_fraction=0, test_fraction=0)).train
    order, device = TrainOrder(len(train), 4, 0), torch.device("cpu")
    dataset = image_dataset(train, PixelTransform(HALF), (3, 8, 8))
    with pytest.raises(ImageError, match=r"3\.png"):
        ResidentBatches(dataset, order, device, start=0, stop=1, workers=0)
    loader = ResidentBatches(replace(dataset, skip_bad=True), order, device, start=0, stop=40, workers=0)
    assert any("3.png" in line for line in loader.skipped)
    names = [name for batch in loader for name in batch.names]
    assert "cat/3.png" not in names
    assert len(names) == 160
