"""Repeated augmentation against DeiT's RASampler, and the pairs that are mixed under it."""

from collections import Counter

import pytest

from saccade.data.batching import TrainOrder


@pytest.mark.parametrize("num_images", [1_281_167, 50_000, 2_560])
def test_steps_of_an_epoch_are_those_of_deits_sampler(num_images: int) -> None:
    timm = pytest.importorskip("timm.data.distributed_sampler")
    batch_size, world = 1024, 8
    sampler = timm.RepeatAugSampler(range(num_images), num_replicas=world, rank=0)
    steps = len(sampler) // (batch_size // world)  # drop_last
    assert TrainOrder(num_images, batch_size, 0, repeats=3).steps_per_epoch == steps
    if num_images == 1_281_167:
        assert steps == 1251


def test_an_epoch_has_the_views_of_deits_sampler() -> None:
    """How many images are shown three times: the first third of the shuffled ones."""
    timm = pytest.importorskip("timm.data.distributed_sampler")
    world, batch_size = 4, 64
    samplers = [timm.RepeatAugSampler(range(2560), num_replicas=world, rank=rank) for rank in range(world)]
    theirs = Counter(index for sampler in samplers for index in sampler)
    order = TrainOrder(2560, batch_size, 0, repeats=3)
    items = [item for step in range(order.steps_per_epoch) for item in order.items(step)]
    ours = Counter(index for index, _ in items)
    assert len(items) == sum(theirs.values()) == 2560
    assert Counter(ours.values()) == Counter(theirs.values()) == {3: 853, 1: 1}
    assert len(set(items)) == len(items)  # every view has another augmentation
    assert set(ours) != {index for step in range(40, 80) for index, _ in order.items(step)}


@pytest.mark.parametrize(("batch_size", "repeats"), [(1024, 3), (96, 3), (64, 4), (12, 6)])
def test_a_view_is_mixed_with_another_image_in_every_repeat(batch_size: int, repeats: int) -> None:
    order = TrainOrder(4096, batch_size, 5, repeats)
    same = total = 0
    for step in range(8):
        indices = [index for index, _ in order.items(step)]
        pairs = [frozenset(pair) for pair in zip(indices[::2], indices[1::2])]
        assert all(len(pair) == 2 for pair in pairs)  # never with itself
        same += sum(count - 1 for count in Counter(pairs).values())
        total += len(pairs)
    # Two random partners among n images are the same with probability 1 / (n - 1).
    assert same / total < 4 * repeats / (batch_size / repeats)


def test_without_repeats_an_epoch_is_a_permutation() -> None:
    order = TrainOrder(40, 8, 0)
    indices = [index for step in range(5) for index, _ in order.items(step)]
    assert sorted(indices) == list(range(40))


def test_few_images_make_one_step() -> None:
    order = TrainOrder(10, 24, 0, repeats=3)
    assert order.steps_per_epoch == 1
    assert Counter(index for index, _ in order.items(0)) == Counter(dict.fromkeys({i for i, _ in order.items(0)}, 3))
