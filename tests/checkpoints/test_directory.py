"""The model directory: whole, checked, and refused when it is not what was written."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import saccade
from saccade.checkpoints.convert import convert
from saccade.checkpoints.directory import LoadedModel, read_model_dir, save_model_dir
from saccade.checkpoints.loading import adapt, load_model
from saccade.checkpoints.reading import read_tensors
from saccade.data.preprocessing import Preprocessing
from saccade.errors import CheckpointError


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    preprocessing = Preprocessing((8, 8), "exact", 1.0, channels=1, mean=(0.5,), std=(0.5,))
    labels = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    loaded = LoadedModel(saccade.create("vit_digits"), "vit", labels, preprocessing, provenance={"data": "none"})
    return save_model_dir(tmp_path / "model", loaded)


def test_everything_comes_back(saved: Path) -> None:
    loaded = read_model_dir(saved)
    assert loaded.labels[3] == "three"
    assert loaded.preprocessing is not None
    assert loaded.preprocessing.channels == 1
    assert loaded.provenance == {"data": "none"}
    assert not loaded.model.training
    state = load_file(saved / "model.safetensors")
    assert all(torch.equal(state[name], tensor) for name, tensor in loaded.model.state_dict().items())
    assert not loaded.report.new
    assert not loaded.report.unused


def test_changed_weights_are_noticed(saved: Path) -> None:
    state = load_file(saved / "model.safetensors")
    state["head.weight"] *= 1.1
    save_file(state, saved / "model.safetensors")
    with pytest.raises(CheckpointError, match="does not compute what it computed"):
        read_model_dir(saved)


def test_a_changed_config_is_noticed(saved: Path) -> None:
    content = json.loads((saved / "config.json").read_text())
    content["config"]["block"]["num_heads"] = 2
    (saved / "config.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="does not compute"):
        read_model_dir(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "update saccade"),
        ({"architecture": "os.system"}, "no architecture"),
        ({"config": {"depth": "x"}}, "not a model's config"),
        ({"preprocessing": {"siz": 3}}, r"did you mean preprocessing\.size"),
    ],
)
def test_a_bad_config_is_explained(saved: Path, change: dict, message: str) -> None:
    content = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps({**content, **change}))
    with pytest.raises(CheckpointError, match=message):
        read_model_dir(saved)


def test_cut_off_files_are_named(saved: Path) -> None:
    path = saved / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        read_model_dir(saved)
    path.unlink()
    with pytest.raises(CheckpointError):
        load_model(saved)


def test_another_size_and_another_head(saved: Path) -> None:
    loaded = load_model(saved, num_classes=3, image_size=(12, 16))
    assert tuple(loaded.model(torch.randn(2, 1, 12, 16)).shape) == (2, 3)
    assert loaded.preprocessing is not None
    assert loaded.preprocessing.size == (12, 16)
    assert loaded.labels == ("0", "1", "2")
    assert loaded.report.new == ["head.weight", "head.bias"]
    same = load_model(saved)
    assert adapt(same, num_classes=10) is same
    headless = adapt(same, num_classes=0)
    assert tuple(headless.model(torch.randn(1, 1, 8, 8)).shape) == (1, 64)


def test_an_unfinished_run_says_how_to_finish(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("seed: 1")
    with pytest.raises(CheckpointError, match="--resume"):
        load_model(tmp_path)
    with pytest.raises(CheckpointError, match="there is no"):
        load_model(tmp_path / "nothing")


class Harmful:
    def __reduce__(self):
        return (Path.touch, (Path("/tmp/saccade-was-here"),))


def test_pickles_that_would_run_something_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.pth"
    torch.save({"model": Harmful()}, path)
    with pytest.raises(CheckpointError, match="could run arbitrary code"):
        read_tensors(path)
    path.write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(CheckpointError):
        read_tensors(path)
    np.savez(tmp_path / "m.npz", a=np.array([Harmful()], dtype=object))
    with pytest.raises(CheckpointError):
        read_tensors(tmp_path / "m.npz")
    assert not Path("/tmp/saccade-was-here").exists()


def test_wrappers_and_prefixes_come_off(tmp_path: Path) -> None:
    tensors = {"module._orig_mod.a": torch.ones(2)}
    torch.save({"epoch": 3, "state_dict": tensors}, tmp_path / "m.pth")
    assert list(read_tensors(tmp_path / "m.pth").tensors) == ["a"]


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04rubbish", b"\x08\0\0\0\0\0\0\0{}", b"\x80\x02rubbish"])
def test_what_is_no_weights_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"m\.pth"):
        read_tensors(tmp_path / "m.pth")


def test_an_index_stays_in_its_folder(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../x.safetensors"}}))
    with pytest.raises(CheckpointError, match="outside of its folder"):
        read_tensors(tmp_path)


def test_the_state_of_a_task_comes_back(tmp_path: Path) -> None:
    model = saccade.create("vit_digits", num_classes=1)
    state = {"mean": 1.5, "std": 0.25}
    path = save_model_dir(tmp_path / "model", LoadedModel(model, "vit", ("age",), None, task_state=state))
    assert read_model_dir(path).task_state == state
    assert adapt(read_model_dir(path), num_classes=3).task_state == state
    save_model_dir(path, LoadedModel(model, "vit", ("age",), None))
    assert "task_state" not in json.loads((path / "config.json").read_text())
    assert read_model_dir(path).task_state == {}


def test_the_weights_file_of_a_directory_opens_as_the_directory(saved: Path) -> None:
    whole, file = load_model(saved), load_model(saved / "model.safetensors")
    assert file.labels == whole.labels
    images = torch.rand(1, 1, 8, 8)
    assert torch.equal(whole.model(images), file.model(images))


def test_the_weights_file_alone_is_refused_with_what_is_missing(saved: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone" / "model.safetensors"
    alone.parent.mkdir()
    alone.write_bytes((saved / "model.safetensors").read_bytes())
    for path in (alone, alone.parent):
        with pytest.raises(
            CheckpointError, match=r"weights of a model directory, without its config.json in the same folder"
        ):
            load_model(path)
    save_file(load_file(alone), alone)  # as versions before 0.2 wrote it
    with pytest.raises(CheckpointError, match=r"no known format.*open with its config.json in the same folder"):
        load_model(alone)


@pytest.mark.parametrize("name", ["architecture", "task", "task_state", "labels", "provenance"])
def test_values_of_another_type_are_named(saved: Path, name: str) -> None:
    content = json.loads((saved / "config.json").read_text())
    content[name] = 5
    (saved / "config.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=rf"config\.json is not a model's config: {name} is '5'"):
        read_model_dir(saved)


@pytest.mark.parametrize(("name", "value"), [("resample", {}), ("rescale_factor", [1]), ("image_mean", {"a": 1})])
def test_a_processor_with_values_of_another_type_is_one_line(saved: Path, name: str, value: object) -> None:
    folder = saved.parent / "theirs"
    convert(saved, folder, "huggingface")
    file = folder / "preprocessor_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), name: value}))
    with pytest.raises(CheckpointError, match=r"^[^\n]+$"):
        load_model(folder)
