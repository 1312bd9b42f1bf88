"""Augmentation of whole batches: the same for any number of processes, and each part does what it says."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from saccade.data import batching
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


def test_flips_are_horizontal_and_drawn_for_each_image() -> None:
    images = pixels(64)
    plain = AugmentationConfig(where="batch", crop_scale=None, flip=0.0)
    always, half = (
        BatchAugmentation(replace(plain, flip=flip), HALF, 1, 0)(
            batch_of(images), step=0, rows=slice(0, 64), batch_size=64
        ).inputs
        for flip in (1.0, 0.5)
    )
    expected = BatchAugmentation(plain, HALF, 1, 0).normalize(images)
    assert torch.equal(always, expected.flip(-1))
    is_flipped = (half == always).flatten(1).all(1)
    assert torch.equal(half, torch.where(is_flipped[:, None, None, None], always, expected))
    assert 20 < is_flipped.sum() < 44


def test_crops_reach_every_offset() -> None:
    images = torch.zeros(400, 1, 5, 5, dtype=torch.uint8)
    images[:, :, 2, 2] = 255
    grey = Preprocessing((5, 5), crop_pct=1.0, channels=1, mean=(0.0,), std=(1.0,))
    config = AugmentationConfig(where="batch", crop_scale=None, flip=0.0, pad_crop=2)
    outputs = BatchAugmentation(config, grey, 1, 0)(batch_of(images), step=0, rows=slice(0, 400), batch_size=400).inputs
    counts = outputs.sum(dim=(0, 1))
    assert counts.sum() == 400
    assert counts.min() > 0
    assert counts.max() < 40


def test_erasing_draws_noise_for_every_channel() -> None:
    config = AugmentationConfig(where="batch", crop_scale=None, flip=0.0, erasing=1.0)
    images = torch.full((4, 3, 8, 8), 255, dtype=torch.uint8)
    outputs = BatchAugmentation(config, HALF, 1, 0)(batch_of(images), step=0, rows=slice(0, 4), batch_size=4).inputs
    is_noise = outputs != 1
    assert is_noise.flatten(1).any(1).all()
    assert (outputs[:, 0] != outputs[:, 1])[is_noise[:, 0]].all()


def mixtures(config: AugmentationConfig, size: int = 8, steps: int = 300) -> tuple[torch.Tensor, torch.Tensor]:
    """Row 0 of pairs of black and white: (``[steps, size, size]`` pixels, ``[steps]`` the target of white)."""
    grey = Preprocessing((size, size), crop_pct=1.0, channels=1, mean=(0.0,), std=(1.0,))
    batch = batch_of(torch.stack([torch.zeros(1, size, size), torch.ones(1, size, size)]), torch.tensor([0, 1]))
    augment = BatchAugmentation(config, grey, 2, 0)
    batches = [augment(batch, step=step, rows=slice(0, 2), batch_size=2) for step in range(steps)]
    return torch.stack([one.inputs[0, 0] for one in batches]), torch.stack([one.labels[0, 1] for one in batches])


def test_mixup_and_cutmix_alone_and_half_of_each() -> None:
    def share_of_cutmix(config: AugmentationConfig) -> float:
        images, _ = mixtures(config, steps=100)
        return ((images == 0) | (images == 1)).flatten(1).all(1).float().mean().item()

    assert share_of_cutmix(AugmentationConfig(mixup=1.0)) == 0
    assert share_of_cutmix(AugmentationConfig(cutmix=1.0)) == 1
    assert 0.3 < share_of_cutmix(AugmentationConfig(mixup=1.0, cutmix=1.0)) < 0.7


def test_weights_of_mixing_have_their_distribution() -> None:
    """Beta(a, a) has mean 1/2 and variance 1 / (8a + 4). With a = 1 a rectangle of sides s has the area s², uniform in
    [0, 1]; around a uniform centre s - s²/4 of a side is inside the image, so the mean is 2 (1/4 - 1/10 + 1/96)."""
    _, weights = mixtures(AugmentationConfig(mixup=0.2), 2, 1000)
    assert weights.mean().item() == pytest.approx(0.5, abs=0.06)
    assert weights.var().item() == pytest.approx(1 / 5.6, abs=0.02)
    images, areas = mixtures(AugmentationConfig(cutmix=1.0), 64, 1000)
    torch.testing.assert_close(images.mean(dim=(1, 2)), areas)
    assert areas.mean().item() == pytest.approx(2 * (1 / 4 - 1 / 10 + 1 / 96), abs=0.04)


def test_the_last_of_an_odd_number_is_not_mixed() -> None:
    images = torch.rand(3, 3, 8, 8)
    batch = batch_of(images, torch.tensor([0, 1, 2]))
    for config in (AugmentationConfig(mixup=1.0), AugmentationConfig(cutmix=1.0)):
        outputs = BatchAugmentation(config, HALF, 3, 0)(batch, step=0, rows=slice(0, 3), batch_size=3)
        torch.testing.assert_close(outputs.inputs[2], images[2])
        assert outputs.labels[2].tolist() == pytest.approx([0, 0, 1])


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
    rectangles = boxes[area > 0]
    for start, length in ((0, 32), (2, 48)):  # rectangles touch the first and the last pixel, and lie between
        first, last = rectangles[:, start], rectangles[:, start + 1]
        assert first.min() == 0
        assert last.max() == length
        assert ((first > length / 4) & (last < length * 3 / 4)).any()
    small = erasing_boxes(1.0, 200, (4, 4), torch.Generator().manual_seed(0))
    assert (small[:, 1::2] - small[:, ::2]).amin(dim=0).tolist() == [1, 1]
    erased = erase(torch.zeros(1, 1, 4, 4), torch.tensor([[1.0, 3.0, 0.0, 2.0]]), torch.ones(1, 4, 4))
    assert erased[0, 0].tolist() == [[0] * 4, [1, 1, 0, 0], [1, 1, 0, 0], [0] * 4]
    erased = erase(torch.zeros(1, 1, 2, 5), torch.tensor([[1.0, 2.0, 3.0, 5.0]]), torch.ones(1, 2, 5))
    assert erased[0, 0].tolist() == [[0] * 5, [0, 0, 0, 1, 1]]


def test_what_cannot_be_done_to_a_batch_is_said() -> None:
    with pytest.raises(ConfigError, match="crop_scale=null"):
        BatchAugmentation(AugmentationConfig(where="batch"), HALF, 2, 0)
    for negative in (AugmentationConfig(mixup=-1.0), AugmentationConfig(cutmix=-1.0)):
        with pytest.raises(ConfigError, match="at least 0"):
            BatchAugmentation(negative, HALF, 2, 0)


def test_resident_batches_equal_loaded_ones(tmp_path: Path, monkeypatch) -> None:
    photos = make_photos(tmp_path / "photos", count=9)
    train = open_data(str(photos), DataConfig(val_fraction=0, test_fraction=0)).train
    images = image_dataset(train, PixelTransform(HALF), (3, 8, 8))
    assert fits_device(images, (3, 8, 8))
    assert not fits_device(images, (3, 2**15, 2**15))
    for spare in (0, -1):
        monkeypatch.setattr(batching, "RESIDENT_BYTES", len(train) * 3 * 8 * 8 + spare)
        assert fits_device(images, (3, 8, 8)) == (spare == 0)
    monkeypatch.undo()
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
