"""Scenes are exact: boxes fit masks, depth the ground, captions what is there; no digit is in two splits."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from saccade.data.builtin import scenes
from saccade.data.builtin.digits import digits_by_split
from saccade.data.builtin.scenes import COLOURS, FAR, NAMES, NEAR, SceneSource, compose, relation, scene_splits
from saccade.data.config import DataConfig, ScenesConfig
from saccade.errors import ConfigError
from saccade.tasks.detection.sources import open_boxes

SMALL = ScenesConfig(size=(96, 128), train=10, val=5, test=5)


def test_a_scene_is_a_function_of_its_number() -> None:
    one, again, other = compose(3, "train", SMALL), compose(3, "train", SMALL), compose(4, "train", SMALL)
    assert (one.image == again.image).all()
    assert one.caption == again.caption
    assert (one.image != other.image).any()
    assert (one.image != compose(3, "test", SMALL).image).any()
    assert one.image.shape == (96, 128, 3)


@pytest.mark.parametrize("number", range(12))
def test_everything_known_fits_together(number: int) -> None:
    scene = compose(number, "train", ScenesConfig(digits=(2, 8)))
    assert 1 <= len(scene.objects) <= 8
    owners = np.zeros(scene.semantic.shape, int)
    for item in scene.objects:
        rows, columns = np.nonzero(item.mask)
        assert item.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert (scene.semantic[item.mask] == item.label + 1).all()
        assert np.allclose(scene.depth[item.mask], item.depth)
        owners += item.mask
        assert f"{item.size} {item.colour} {NAMES[item.label]}" in scene.caption
    assert owners.max() == 1
    assert ((scene.semantic > 0) == (owners > 0)).all()
    ground = np.linspace(FAR, NEAR, 128)[:, None].repeat(128, axis=1)
    assert np.allclose(scene.depth[owners == 0], ground[owners == 0])
    assert [t.depth for t in scene.objects] == sorted((t.depth for t in scene.objects), reverse=True)


def test_copies_differ_in_their_places_alone() -> None:
    config = ScenesConfig(size=(64, 64), digits=(2, 3), scale=(0.3, 0.6), copies=True)
    scenes = [compose(number, "train", config) for number in range(20)]
    assert sum(len(scene.objects) > 1 for scene in scenes) > 15
    for scene in scenes:
        first = scene.objects[0]
        for item in scene.objects:
            left, top, right, bottom = map(int, item.box)
            a, b, c, d = map(int, first.box)
            assert (item.label, item.size, item.colour) == (first.label, first.size, first.colour)
            assert (item.mask[top:bottom, left:right] == first.mask[b:d, a:c]).all()


def test_no_digit_is_in_two_splits() -> None:
    names = [set(source.names) for source in digits_by_split().values()]
    assert not names[0] & names[1] | names[0] & names[2] | names[1] & names[2]
    assert sum(map(len, names)) == 1797


def test_words() -> None:
    scene = compose(0, "train", ScenesConfig(digits=(1, 1)))
    assert scene.caption == scene.objects[0].describe()
    assert scene.objects[0].colour in COLOURS
    pair = next(s for n in range(50) if len((s := compose(n, "train", ScenesConfig(digits=(2, 2)))).objects) == 2)
    one, other = pair.objects
    opposite = {
        "to the left of": "to the right of", "to the right of": "to the left of", "above": "below", "below": "above",
        "behind": "in front of", "in front of": "behind",
    }  # fmt: skip
    assert relation(other, one) == opposite[relation(one, other)]


def test_scenes_as_data() -> None:
    splits = open_boxes("scenes", DataConfig(scenes=SMALL))
    assert (len(splits.train), len(splits.test or [])) == (10, 5)
    sample = splits.train.with_boxes(2)
    assert len(sample.boxes) == len(sample.labels)
    assert splits.train.data(2)[:4] == b"\x89PNG"
    with pytest.raises(ConfigError, match="scale"):
        open_boxes("scenes", DataConfig(scenes=ScenesConfig(scale=(0.5, 0.2))))
    with pytest.raises(ConfigError, match="digits"):
        open_boxes("scenes", DataConfig(scenes=ScenesConfig(digits=(5, 2))))


def test_plain_captions_are_for_training_only() -> None:
    config = ScenesConfig(size=(64, 64), plain_captions=True)
    full, plain = SceneSource("train", 3, config).with_captions(1).captions
    assert plain == " ".join(word for word in full.split() if word not in {*COLOURS, "small", "medium", "large"})
    assert len(SceneSource("test", 3, config).captions(1)) == 1


def test_composed_scenes_are_kept_within_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """A later epoch finds a scene as it was, whatever was done to what came from it; others are composed again."""
    config = ScenesConfig(size=(32, 32))
    numbers: list[int] = []

    def counted(number: int, split: str, config: ScenesConfig) -> scenes.Scene:
        numbers.append(number)
        return compose(number, split, config)

    monkeypatch.setattr(scenes, "compose", counted)
    first = compose(0, "train", config)
    size = first.image.nbytes + first.semantic.nbytes + first.depth.nbytes + sum(o.mask.nbytes for o in first.objects)
    monkeypatch.setattr(scenes, "KEPT_BYTES", size)
    source = scenes.SceneSource("train", 2, config)
    boxed = source.with_boxes(0)
    boxed.boxes[:], boxed.labels[:] = 0, 0
    boxed.image.paste((0, 0, 0), (0, 0, 32, 32))
    for name in ("image", "semantic", "depth"):
        assert np.array_equal(getattr(source.scene(0), name), getattr(first, name))
    source.scene(1)
    source.scene(1)
    assert numbers == [0, 1, 1]


def test_scenes_of_some_digits() -> None:
    """Only those, and the option that is off changes no scene and no fingerprint."""
    some = scene_splits(ScenesConfig(size=(32, 32), digits=(1, 3), labels=(0, 7), train=12, val=0, test=0))
    assert isinstance(some.train, SceneSource)
    labels = {item.label for number in range(12) for item in some.train.scene(number).objects}
    assert labels == {0, 7}
    assert some.fingerprint != scene_splits(replace(SMALL, labels=(1,))).fingerprint
    plain = repr(SMALL).replace("labels=(), ", "")
    assert scene_splits(SMALL).fingerprint == hashlib.sha256(plain.encode()).hexdigest()
