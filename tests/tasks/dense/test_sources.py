"""Images with maps: formats, holes, classes that are none, sizes that differ; image and map move together."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from saccade.data.config import AugmentationConfig, DataConfig, ScenesConfig
from saccade.data.preprocessing import Preprocessing
from saccade.errors import ConfigError, DataError, ImageError
from saccade.tasks.dense.batches import DenseDataset, DenseTransform
from saccade.tasks.dense.sources import IGNORE, open_dense, read_depth, renumbered

WHOLE = DataConfig(val_fraction=0.0, test_fraction=0.0)
PLAIN = Preprocessing((8, 12), resize="exact", crop_pct=1.0, mean=(0.0,) * 3, std=(1.0,) * 3)


def write_masks(root: Path, count: int = 4) -> Path:
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    for i in range(count):
        mask = np.zeros((8, 12), np.uint8)
        mask[:, 6:], mask[0, 0], mask[1, 1] = 2, 1, 255
        Image.fromarray(mask).save(root / "masks" / f"{i}.png")
        Image.fromarray(mask[..., None].repeat(3, 2) * 40).save(root / "images" / f"{i}.png")
    (root / "classes.json").write_text(json.dumps(["road", "Unlabelled", "tree"]))
    return root


def write_depth(root: Path, suffix: str) -> Path:
    (root / "train" / "images").mkdir(parents=True)
    (root / "train" / "depth").mkdir()
    metres = np.linspace(0.5, 3, 96, dtype=np.float32).reshape(8, 12)
    metres[0, 0] = 0
    Image.new("RGB", (12, 8)).save(root / "train" / "images" / "a.png")
    path = root / "train" / "depth" / f"a{suffix}"
    if suffix == ".png":
        Image.fromarray((metres * 1000).round().astype(np.uint16)).save(path)
    elif suffix == ".npy":
        np.save(path, metres)
    else:
        path.write_bytes(b"Pf\n12 8\n-1.0\n" + metres[::-1].astype("<f4").tobytes())
    return root


def test_what_is_no_class_is_ignored_and_the_rest_closes_up(tmp_path: Path) -> None:
    splits = open_dense(str(write_masks(tmp_path / "data")), "masks", WHOLE)
    assert splits.classes == ("road", "tree")
    _, mask = splits.train.with_map(0)
    assert mask[0, 0] == IGNORE
    assert mask[1, 1] == IGNORE
    assert (mask[:, 6:] == 1).all()
    assert mask[2, 2] == 0


@pytest.mark.parametrize("suffix", [".png", ".npy", ".pfm"])
def test_depth_in_metres_with_holes(suffix: str, tmp_path: Path) -> None:
    splits = open_dense(str(write_depth(tmp_path / "data", suffix)), "depth")
    _, depth = splits.train.with_map(0)
    assert np.isnan(depth[0, 0])
    assert depth[-1, -1] == pytest.approx(3.0, abs=1e-3)
    assert depth[0, 1] == pytest.approx(0.5 + 2.5 / 95, abs=1e-3)


def test_where_a_sensor_saw_nothing_is_no_depth(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 1500, 65535]], np.uint16)).save(tmp_path / "depth.png")
    depth = read_depth(tmp_path / "depth.png", 0.001)
    assert np.isnan(depth).tolist() == [[True, False, True]]
    assert depth[0, 1] == pytest.approx(1.5)


def test_bad_data_is_named(tmp_path: Path) -> None:
    root = write_masks(tmp_path / "data")
    Image.fromarray(np.full((8, 12), 7, np.uint8)).save(root / "masks" / "0.png")
    with pytest.raises(ImageError, match=r"0\.png has the class number 7"):
        open_dense(str(root), "masks", WHOLE).train.with_map(0)
    Image.fromarray(np.zeros((9, 12), np.uint8)).save(root / "masks" / "0.png")
    with pytest.raises(ImageError, match="same size"):
        open_dense(str(root), "masks", WHOLE).train.with_map(0)
    (root / "masks" / "1.png").unlink()
    with pytest.raises(DataError, match=r"1\.png has no map"):
        open_dense(str(root), "masks")
    (root / "masks" / "1.png").write_bytes((root / "masks" / "2.png").read_bytes())
    (root / "classes.json").unlink()
    with pytest.raises(DataError, match=r"which contain 0, 1, 2, 255: put classes\.json"):
        open_dense(str(root), "masks")
    with pytest.raises(DataError, match="no folder"):
        open_dense(str(tmp_path / "none"), "depth")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no images"):
        open_dense(str(tmp_path / "empty"), "depth")
    np.save(tmp_path / "flat.npy", np.zeros((4, 4)))
    with pytest.raises(ImageError, match="no depth at all"):
        read_depth(tmp_path / "flat.npy", 1.0)
    np.save(tmp_path / "evil.npy", np.array([{"a": 1}]), allow_pickle=True)
    with pytest.raises(ImageError, match=r"evil\.npy"):
        read_depth(tmp_path / "evil.npy", 1.0)


def test_image_and_map_move_together(tmp_path: Path) -> None:
    source = open_dense(str(write_masks(tmp_path / "data")), "masks", WHOLE).train
    image, mask = source.with_map(0)
    config = AugmentationConfig(crop_scale=(0.4, 0.9), flip=0.5)
    matches = 0
    for seed in range(12):
        tensor, target = DenseTransform(PLAIN, config)(image, mask, (seed,))
        assert tensor.shape == (3, 8, 12)
        assert target.shape == (8, 12)
        bright = tensor[0] > 40 / 255 * 1.5  # the right half of the image
        known = target != IGNORE
        matches += ((bright == (target == 1)) & known).sum().item() / known.sum().item()
    assert matches / 12 > 0.9
    with pytest.raises(ConfigError, match="mixup"):
        DenseTransform(PLAIN, AugmentationConfig(mixup=0.2))


def test_maps_of_several_sizes_are_filled_with_what_does_not_count(tmp_path: Path) -> None:
    source = open_dense(str(write_masks(tmp_path / "data")), "masks", WHOLE).train
    sample = DenseDataset(source, DenseTransform(PLAIN))[(0, ())]
    small = sample.__class__(**{**vars(sample), "target": torch.zeros(4, 5, dtype=torch.long)})
    batch, _ = DenseDataset.collate([sample, small])
    assert isinstance(batch.labels, dict)
    assert batch.labels["sizes"].tolist() == [[8, 12], [4, 5]]
    assert (batch.labels["target"][1] != IGNORE).sum() == 20


def test_scenes_have_both_maps() -> None:
    config = DataConfig(scenes=ScenesConfig(size=(48, 64), train=3, val=0, test=2))
    depth, masks = (open_dense("scenes", kind, config) for kind in ("depth", "masks"))
    assert masks.classes[0] == "ground"
    assert len(masks.classes) == 11
    image, metres = depth.train.with_map(1)
    other, classes = masks.train.with_map(1)
    assert (np.asarray(image) == np.asarray(other)).all()
    assert metres.shape == classes.shape == (48, 64)
    assert depth.classes == ()


def test_masks_get_the_class_indices_of_a_model(tmp_path: Path) -> None:
    splits = open_dense(str(write_masks(tmp_path / "data")), "masks", WHOLE)
    assert splits.classes == ("road", "tree")
    _, mask = splits.train.with_map(0)
    image, numbers = renumbered(splits, ("sky", "Tree", "road"), "data").train.with_map(0)
    assert image.size == (12, 8)
    assert (numbers == np.array([2, 1, IGNORE])[mask]).all()


def test_masks_of_0_and_255(tmp_path: Path) -> None:
    """255 is the second of two classes where nothing else is in the masks; with more classes they are refused."""
    root = write_masks(tmp_path / "data")
    (root / "classes.json").write_text(json.dumps(["background", "lesion", "vessel"]))
    for path in (root / "masks").glob("*.png"):
        mask = np.zeros((8, 12), np.uint8)
        mask[2:4] = 255
        Image.fromarray(mask).save(path)
    with pytest.raises(DataError, match=r"only 0 and 255, .* no pixel is of lesion, vessel"):
        open_dense(str(root), "masks", WHOLE)
    (root / "classes.json").write_text(json.dumps(["background", "lesion"]))
    splits = open_dense(str(root), "masks", WHOLE)
    assert splits.classes == ("background", "lesion")
    assert "the masks hold only 0 and 255: 255 is lesion" in splits.notes
    _, mask = splits.train.with_map(0)
    assert (mask == (np.arange(8) // 2 == 1)[:, None]).all()
    Image.fromarray(np.eye(8, 12, dtype=np.uint8)).save(root / "masks" / "3.png")  # 255 is a pixel without a class
    assert (open_dense(str(root), "masks", WHOLE).train.with_map(0)[1][2:4] == IGNORE).all()
    (root / "masks" / "3.png").write_bytes((root / "masks" / "0.png").read_bytes())
    (root / "classes.json").unlink()
    assert open_dense(str(root), "masks", WHOLE).classes == ("background", "foreground")


@pytest.mark.parametrize(("orientation", "size"), [(3, (12, 8)), (2, (12, 8)), (6, (8, 8))])
def test_turned_images_with_maps_are_refused(orientation: int, size: tuple[int, int], tmp_path: Path) -> None:
    root = write_masks(tmp_path / "data")
    exif = Image.Exif()
    exif[0x0112] = orientation
    for folder in ("images", "masks"):
        for path in (root / folder).glob("*.png"):
            Image.open(path).crop((0, 0, *size)).save(path, **({"exif": exif} if folder == "images" else {}))
    with pytest.raises(ImageError, match=f"EXIF orientation {orientation}"):
        open_dense(str(root), "masks", WHOLE).train.with_map(0)
