"""Any step can be made again: the same batch with any number of workers, processes, and from any start."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from saccade.data import batching
from saccade.data.augmentation import EvalTransform, TrainTransform
from saccade.data.batch_augmentation import BatchAugmentation, affine_matrices, warp
from saccade.data.batching import (
    BalancedClasses,
    TrainBatches,
    TrainOrder,
    default_workers,
    eval_batches,
    first_readable,
    image_dataset,
)
from saccade.data.config import AffineConfig, AugmentationConfig, DataConfig
from saccade.data.image_folder import open_data
from saccade.data.preprocessing import Preprocessing
from saccade.data.samples import Batch
from saccade.errors import ConfigError, DataError, ImageError
from tests.photos import make_photos

RICH = AugmentationConfig(
    crop_scale=(0.3, 1.0), flip=0.5, randaugment="2x9", color_jitter=0.4, erasing=0.5, mixup=0.5, cutmix=0.5,
    affine=AffineConfig(10, 0.1, 0.1),
)  # fmt: skip
PREPROCESSING = Preprocessing((16, 16), mean=(0.5,) * 3, std=(0.5,) * 3)


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    return make_photos(tmp_path_factory.mktemp("data") / "photos", count=20)


def source(photos: Path, **config):
    return open_data(str(photos), DataConfig(val_fraction=0, test_fraction=0, **config)).train


def batches(photos: Path, *, start=0, stop=9, workers=0, rank=0, world=1, repeats=1) -> list[Batch]:
    train = source(photos)
    images = image_dataset(train, TrainTransform(PREPROCESSING, RICH), (3, 16, 16))
    order = TrainOrder(len(train), 8, 3, repeats, rank, world)
    augment = BatchAugmentation(RICH, PREPROCESSING, 2, 3)
    loader = TrainBatches(images, order, start=start, stop=stop, workers=workers)
    return [augment(b, step=step, rows=order.rows, batch_size=8) for step, b in enumerate(loader, start)]


def assert_same(one: list[Batch], other: list[Batch]) -> None:
    assert len(one) == len(other) > 0
    for a, b in zip(one, other):
        assert a.names == b.names
        assert torch.equal(a.inputs, b.inputs)
        assert torch.equal(a.labels, b.labels)


def test_workers_do_not_matter(photos: Path) -> None:
    alone = batches(photos)
    assert_same(alone, batches(photos, workers=1))
    assert_same(alone, batches(photos, workers=2))


def test_workers_of_a_process_group_are_not_forked_from_its_threads(photos: Path, tmp_path: Path) -> None:
    alone = batches(photos)
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        order = TrainOrder(20, 8, 3, 1, 0, 1)
        images = image_dataset(source(photos), TrainTransform(PREPROCESSING, RICH), (3, 16, 16))
        loader = TrainBatches(images, order, start=0, stop=9, workers=1)
        assert loader._loader.multiprocessing_context.get_start_method() == "forkserver"
        assert_same(alone, batches(photos, workers=1))
    finally:
        dist.destroy_process_group()


def test_workers_are_forked_from_a_server_in_a_process_group_alone(photos: Path, monkeypatch) -> None:
    images = image_dataset(source(photos), TrainTransform(PREPROCESSING, RICH), (3, 16, 16))

    def context(workers: int) -> object:
        loader = TrainBatches(images, TrainOrder(20, 8, 3), start=0, stop=1, workers=workers)
        return loader._loader.multiprocessing_context

    assert context(0) is context(1) is None
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    assert context(0) is None
    assert context(1).get_start_method() == "forkserver"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("cores", "processes", "workers"), [(1, None, 0), (8, None, 7), (8, "2", 3), (40, None, 16), (2, "4", 0)]
)
def test_default_number_of_workers(photos: Path, monkeypatch, cores: int, processes: str | None, workers: int) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(cores)) if process == 0 else set())
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    if processes:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
    train = source(photos)
    assert default_workers(image_dataset(train, TrainTransform(PREPROCESSING, RICH), (3, 16, 16))) == workers
    assert default_workers(image_dataset(train, EvalTransform(PREPROCESSING), (3, 16, 16))) == 0  # cached


def test_default_number_of_workers_where_the_system_counts_no_cores(photos: Path, monkeypatch) -> None:
    monkeypatch.delattr("os.sched_getaffinity", raising=False)
    images = image_dataset(source(photos), TrainTransform(PREPROCESSING, RICH), (3, 16, 16))
    for cores, workers in ((4, 3), (None, 0)):
        monkeypatch.setattr("os.cpu_count", lambda cores=cores: cores)
        assert default_workers(images) == workers


def test_a_resumed_order_goes_on_where_it_was(photos: Path) -> None:
    assert_same(batches(photos)[6:], batches(photos, start=6))


def test_two_processes_share_the_batch_of_one(photos: Path) -> None:
    halves = [batches(photos, rank=rank, world=2) for rank in (0, 1)]
    joined = [
        Batch(torch.cat((a.inputs, b.inputs)), torch.cat((a.labels, b.labels)), a.names + b.names, a.indices)
        for a, b in zip(*halves)
    ]
    assert_same(batches(photos), joined)


def test_an_epoch_shows_every_image_at_most_once(photos: Path) -> None:
    order = TrainOrder(40, 8, 0)
    names = [index for step in range(5) for index, _ in order.items(step)]
    assert sorted(names) == list(range(40))
    assert [i for i, _ in order.items(0)] != [i for i, _ in order.items(5)]


def test_repeats_show_an_image_anew_in_one_batch(photos: Path) -> None:
    items = TrainOrder(40, 6, 0, repeats=3).items(0)
    assert len({index for index, _ in items}) == 2
    assert len({key for _, key in items}) == 6
    assert len(TrainOrder(40, 2, 0, repeats=3).items(0)) == 2  # fewer samples than repeats


@pytest.mark.parametrize("batch_size", [6, 9, 12])
def test_repeats_have_other_neighbours(batch_size: int) -> None:
    order = TrainOrder(48, batch_size, 0, repeats=3)
    for step in range(40):
        indices = [index for index, _ in order.items(step)]
        assert all(one != other for one, other in pairwise(indices))


def test_rows_of_a_process() -> None:
    order = TrainOrder(100, 12, 0, rank=1, world=3)
    assert order.rows == slice(4, 8)
    assert order.items(5) == TrainOrder(100, 12, 0).items(5)[4:8]


def test_epochs_augment_differently(photos: Path) -> None:
    train = source(photos)
    transform = TrainTransform(PREPROCESSING, RICH)
    image = train.image(0)
    one, again, other = (transform(image, (0, epoch, 0, 0)) for epoch in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_augmenting_leaves_the_callers_random_numbers_alone(photos: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    TrainTransform(PREPROCESSING, RICH)(source(photos).image(0), (0, 0, 0, 0))
    assert torch.equal(torch.rand(3), expected)


def test_without_augmentation_images_are_made_once(photos: Path) -> None:
    plain = AugmentationConfig(crop_scale=None, flip=0)
    images = image_dataset(source(photos), TrainTransform(PREPROCESSING, plain), (3, 16, 16))
    assert images.cache == {}
    first = images[(0, ())][0]
    assert images[(0, (1, 2))][0] is first


def test_only_images_without_augmentation_that_fit_are_cached(photos: Path, monkeypatch) -> None:
    train, size = source(photos), (3, 16, 8)
    assert image_dataset(train, TrainTransform(PREPROCESSING, RICH), size).cache is None
    for spare, cached in ((0, True), (-1, False)):
        monkeypatch.setattr(batching, "CACHE_BYTES", len(train) * 3 * 16 * 8 * 4 + spare)
        assert (image_dataset(train, EvalTransform(PREPROCESSING), size).cache is not None) == cached


def test_evaluation_sees_every_image_once_in_order(photos: Path) -> None:
    train = source(photos)
    images = image_dataset(train, TrainTransform(PREPROCESSING, AugmentationConfig(None, 0)), (3, 16, 16))
    seen = [n for r in range(3) for b in eval_batches(images, 7, rank=r, world=3) for n in b.names]
    assert seen == list(train.names)


def test_too_large_or_uneven_batches_are_refused() -> None:
    with pytest.raises(ConfigError, match="only 10"):
        TrainOrder(10, 16, 0)
    with pytest.raises(ConfigError, match="evenly"):
        TrainOrder(100, 9, 0, world=2)


def test_broken_images_stop_or_are_skipped_and_counted(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "p", count=60)
    (photos / "cat" / "7.png").write_bytes(b"broken")
    train = source(photos)
    order = TrainOrder(len(train), 8, 0)
    transform = TrainTransform(PREPROCESSING, AugmentationConfig(None, 0))
    with pytest.raises(ImageError, match=r"cat/7\.png"):
        list(TrainBatches(image_dataset(train, transform, (3, 16, 16)), order, start=0, stop=15, workers=0))
    for workers in (0, 2):
        images = image_dataset(train, transform, (3, 16, 16), skip_bad=True)
        loader = TrainBatches(images, order, start=0, stop=30, workers=workers)
        assert sum(len(b.inputs) for b in loader) == 240
        assert len(loader.skipped) == 1
    for i in range(8, 12):
        (photos / "cat" / f"{i}.png").write_bytes(b"broken")
    loader = TrainBatches(
        image_dataset(train, transform, (3, 16, 16), skip_bad=True), order, start=0, stop=15, workers=0
    )
    with pytest.raises(DataError, match="more than 1%"):
        list(loader)


@pytest.mark.parametrize(("count", "limit"), [(60, 1), (180, 1), (300, 3)])
def test_one_percent_of_the_images_may_be_broken(count: int, limit: int) -> None:
    class Numbers:
        source, cache = range(count), None
        broken = range(limit)

        def __getitem__(self, item: tuple) -> str:
            return f"{item[0]} is broken" if item[0] in self.broken else ""

        def collate(self, errors: list[str]) -> tuple[list[str], list[str]]:
            return errors, [error for error in errors if error]

    dataset, order = Numbers(), TrainOrder(count, 20, 0)
    loader = TrainBatches(dataset, order, start=0, stop=order.steps_per_epoch * 2, workers=0)  # type: ignore[arg-type]
    assert len(list(loader)) == order.steps_per_epoch * 2
    assert len(loader.skipped) == limit
    dataset.broken = range(limit + 1)
    with pytest.raises(DataError, match="more than 1%"):
        list(loader)


def test_the_next_readable_image_replaces_a_broken_one() -> None:
    def read(index: int) -> str:
        if index in (3, 4):
            raise ImageError(f"{index} is broken")
        return f"image {index}"

    assert first_readable(5, 3, read, True) == ("image 0", 0, "3 is broken\n4 is broken")
    assert first_readable(5, 2, read, True) == ("image 2", 2, "")
    with pytest.raises(ImageError, match="3 is broken"):
        first_readable(5, 3, read, False)


def test_mixing_keeps_targets_whole_and_pairs_neighbours() -> None:
    images = torch.arange(8.0)[:, None, None, None].expand(8, 1, 4, 4).clone()
    batch = Batch(images, torch.arange(8), ("",) * 8, torch.arange(8))
    for config in (AugmentationConfig(mixup=1.0), AugmentationConfig(cutmix=1.0)):
        for step in range(20):
            mixed = BatchAugmentation(config, PREPROCESSING, 8, 0)(batch, step=step, rows=slice(0, 8), batch_size=8)
            torch.testing.assert_close(mixed.labels.sum(1), torch.ones(8))
            # The image's mean is its mixture of the two numbers, as the targets say.
            means = mixed.inputs.mean(dim=(1, 2, 3))
            torch.testing.assert_close(means, mixed.labels @ torch.arange(8.0), atol=1e-5, rtol=1e-5)
            assert set(mixed.labels[0].nonzero().flatten().tolist()) <= {0, 1}


def test_affine_turns_shifts_and_scales() -> None:
    generator = torch.Generator().manual_seed(0)
    still = affine_matrices(AffineConfig(), 3, (6, 9), generator)
    images = torch.rand(3, 2, 6, 9)
    torch.testing.assert_close(warp(images, still), images, atol=1e-5, rtol=0)
    quarter = torch.tensor([[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]]])
    square = torch.rand(1, 1, 5, 5)
    torch.testing.assert_close(warp(square, quarter), square.rot90(1, (2, 3)), atol=1e-5, rtol=0)
    many = affine_matrices(AffineConfig(degrees=10, translate=0.1, scale=0.2), 500, (8, 8), generator)
    angles = torch.atan2(many[:, 1, 0], many[:, 0, 0]).rad2deg()
    assert 9 < angles.abs().max() <= 10.001
    assert 0.18 < many[:, :, 2].abs().max() <= 0.2  # twice the share, as the grid runs from -1 to 1
    sizes = 1 / many[:, :, :2].det().sqrt()
    assert 0.8 <= sizes.min() < 0.82 < 1.18 < sizes.max() <= 1.2001


# --------------------------------------------------------------------------------------------------- balanced sampling

RARE = torch.tensor([0] * 20 + [1] * 7 + [2] * 2)  # 29 images of three classes


def test_balanced_sampling_has_every_class_equally_often() -> None:
    order = TrainOrder(len(RARE), 29, 3, classes=BalancedClasses(RARE))
    for step in range(3):  # each is an epoch
        images = torch.tensor([index for index, _ in order.items(step)])
        counts = RARE[images].bincount(minlength=3).tolist()
        assert sorted(counts) == [9, 10, 10]
        drawn = images.bincount(minlength=29)
        for label in range(3):  # of a class no image comes twice before all came once
            own = drawn[label == RARE]
            assert int(own.max() - own.min()) <= 1
    many = torch.cat([torch.tensor([index for index, _ in order.items(step)]) for step in range(40)])
    assert (many.bincount(minlength=29) > 0).all()  # also every image of the large class, over some epochs
    smaller = {int(RARE[epoch].bincount().argmin()) for epoch in many.split(29)}
    assert smaller == {0, 1, 2}  # 29 samples of three classes: another one has 9 in another epoch


def test_balanced_sampling_augments_an_image_differently_each_time() -> None:
    items = TrainOrder(len(RARE), 29, 3, repeats=1, classes=BalancedClasses(RARE)).items(0)
    assert len({key for _, key in items}) == 29
    with_views = TrainOrder(len(RARE), 29, 3, repeats=2, classes=BalancedClasses(RARE)).items(0)
    assert len({key for _, key in with_views}) == 29
    for index in range(len(RARE)):  # the views of an image are numbered
        views = sorted(key[3] for other, key in items if other == index)
        assert views == list(range(len(views)))


def test_balanced_sampling_is_a_function_of_seed_and_step() -> None:
    whole = TrainOrder(len(RARE), 6, 3, classes=BalancedClasses(RARE))
    steps = [whole.items(step) for step in range(9)]
    again = TrainOrder(len(RARE), 6, 3, classes=BalancedClasses(RARE.clone()))
    assert [again.items(step) for step in range(8, -1, -1)] == steps[::-1]  # from any start, in any order
    parts = [TrainOrder(len(RARE), 6, 3, 1, rank, 3, BalancedClasses(RARE)) for rank in range(3)]
    assert [[item for part in parts for item in part.items(step)] for step in range(9)] == steps
    assert TrainOrder(len(RARE), 6, 4, classes=BalancedClasses(RARE)).items(0) != steps[0]
