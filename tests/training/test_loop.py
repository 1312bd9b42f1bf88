"""The loop: what it computes does not depend on how the work is cut, and what goes wrong is said."""

import itertools
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from saccade.cli.main import main
from saccade.errors import ConfigError, DataError, TrainingError
from saccade.tasks.classification.metrics import ClassificationMetrics
from saccade.training.config import resolve
from saccade.training.events import EpochDone, Note, StepDone
from saccade.training.run_directory import RunDirectory
from tests.engine.batch_cuts import start_as_torchrun
from tests.photos import make_photos
from tests.running import train
from tests.training.test_resume import SMALL, config

ROOT = Path(__file__).parents[2]
STILL = {
    "model.dropout": 0.0,
    "model.drop_path": 0.0,
    "model.options": {"depth": 2, "block.embed_dim": 32, "block.mlp_dim": 64},
}


def losses(tmp_path: Path, name: str, **changes: object) -> list[float]:
    chosen = config(**{**STILL, "schedule.steps": 6, "checkpoint_seconds": 1e9, **changes})
    events: list = []
    train(chosen, RunDirectory.create(chosen, tmp_path / name), on_event=events.append)
    return [e.loss for e in events if isinstance(e, StepDone)]


def test_accumulation_is_the_same_batch_in_parts(tmp_path: Path) -> None:
    whole = losses(tmp_path, "a")
    parts = losses(tmp_path, "b", accumulation=4)
    assert whole == pytest.approx(parts, abs=1e-6)


def command(arguments: list[str]) -> None:
    assert main(arguments) == 0


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("shard", "rho"),
    [
        pytest.param(False, None, id="DDP"),
        pytest.param(True, 0.05, id="SAM-FSDP2"),
        pytest.param(True, None, id="FSDP2", marks=pytest.mark.long),
        pytest.param(False, 0.05, id="SAM-DDP", marks=pytest.mark.long),
    ],
)
def test_two_processes_equal_one(tmp_path: Path, shard: bool, rho: float | None) -> None:
    more = {"optimizer.clip_norm": 1.0, "sam.rho": rho}
    single = losses(tmp_path, "one", **more)
    keys = {**SMALL, **STILL, "schedule.steps": 6, "checkpoint_seconds": 1e9, **more}
    arguments = ["train", "--recipe", "digits", "--output", str(tmp_path / "two"), *(["--shard"] if shard else [])]
    arguments += [f"--set={key}={json.dumps(value)}" for key, value in keys.items()]
    if shard or rho:
        start_as_torchrun(command, arguments)
    else:  # once by torchrun itself, whose three processes each import PyTorch
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
        done = subprocess.run([*launch, "saccade", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=500)
        assert done.returncode == 0, done.stderr[-3000:]
    (row,) = RunDirectory(tmp_path / "two").metrics()
    assert row["loss"] == pytest.approx(sum(single) / len(single), abs=1e-6)
    one, two = (load_file(tmp_path / n / "model" / "model.safetensors") for n in ("one", "two"))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, atol=2e-5, rtol=1e-4)
    # The sharded run's checkpoint holds the whole tensors, so that one process can go on with it.
    checkpoint = RunDirectory(tmp_path / "two").load(RunDirectory(tmp_path / "two").steps()[-1])
    files, progress = checkpoint.files, checkpoint.progress
    assert progress.step == 6
    assert files["optimizer"]["head.weight.exp_avg"].shape == one["head.weight"].shape


def test_not_a_number_stops_and_names_the_batch(tmp_path: Path) -> None:
    wild = {"optimizer.lr": 1e6, "optimizer.weight_decay": 1e6, "optimizer.clip_norm": 0.0}
    chosen = config(**{**STILL, **wild, "schedule.steps": 20, "ema": 0.0})
    with pytest.raises(TrainingError, match=r"at step \d+ \(epoch 0.*digits/\d+") as caught:
        train(chosen, RunDirectory.create(chosen, tmp_path / "nan"))
    assert "bad_batch" in str(caught.value)
    kept = load_file(tmp_path / "nan" / "bad_batch_rank0.safetensors")
    assert tuple(kept["inputs"].shape) == (16, 1, 8, 8)


def test_a_model_that_cannot_learn_is_refused_before_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from saccade.models.vit import VisionTransformer

    def constant(self, images, valid=None):
        return 0 * self.head.weight.sum() + torch.zeros(len(images), self.config.num_classes)

    monkeypatch.setattr(VisionTransformer, "forward", constant)
    chosen = config(preflight=True)
    with pytest.raises(TrainingError, match="overfit one batch"):
        train(chosen, RunDirectory.create(chosen, tmp_path / "x"))
    assert not (tmp_path / "x").exists()


def test_preflight_says_what_it_found_and_what_it_takes(tmp_path: Path) -> None:
    chosen = config(**{**STILL, "preflight": True, "data.check": "auto", "schedule.steps": 2})
    events: list = []
    train(chosen, RunDirectory.create(chosen, tmp_path / "p"), on_event=events.append)
    said = " ".join(e.text for e in events if isinstance(e, Note))
    for part in ("checked 1797 of 1797", "one batch overfits", "expected:", "of memory", "float32 matmul precision"):
        assert part in said


def test_the_preflight_does_not_change_the_run(tmp_path: Path) -> None:
    assert losses(tmp_path, "with", preflight=True) == losses(tmp_path, "without")


def photos_config(path: Path, **changes: object):
    values = {
        "data.path": str(path), "model.name": "vit_ti16", "model.image_size": [16, 16], "schedule.epochs": 4,
        "model.options": {"depth": 1, "patch_size": [8, 8], "block.embed_dim": 32, "block.num_heads": 2,
                          "block.mlp_dim": 64},
        "batch_size": 8, "augmentation.randaugment": "", "augmentation.mixup": 0.0, "augmentation.cutmix": 0.0,
        "optimizer.lr": 3e-3, "data.workers": 0, "preflight": False,
    }  # fmt: skip
    return resolve("scratch", overrides={**values, **changes})


def test_photographs_the_best_on_val_and_the_test_split(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos", count=30)
    chosen = photos_config(photos)
    events: list = []
    result = train(chosen, RunDirectory.create(chosen, tmp_path / "run"), on_event=events.append)
    assert result.split == "test"
    assert result.metrics is not None
    assert result.metrics.accuracy == 1.0  # the colour tells
    rows = [e.row for e in events if isinstance(e, EpochDone)]
    assert len(rows) == 4
    assert {"val_accuracy", "val_loss", "loss", "lr", "images_per_second"} <= rows[-1].keys()
    assert (tmp_path / "run/checkpoints/best/model.safetensors").is_file()
    told = json.loads((tmp_path / "run/predictions.json").read_text())
    assert told["split"] == "test"
    assert len(told["predictions"]) == result.metrics.images


@pytest.mark.parametrize(("select", "step"), [("best", 2), ("last", 6)])
def test_the_result_has_the_weights_that_were_selected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, select: str, step: int
) -> None:
    """Three epochs of two steps whose validation accuracy falls: the best weights are those of the first."""
    falling = itertools.count(0, -1)
    monkeypatch.setattr(ClassificationMetrics, "selection", property(lambda metrics: next(falling)))
    sizes = {"data.digits.val": 701, "batch_size": 256, "schedule.steps": 6}
    chosen = config(**{**STILL, **sizes, "select": select, "augmentation.mixup": 0.0})
    run = train(chosen, RunDirectory.create(chosen, tmp_path / "run")).run
    assert [set(row) & {"val_accuracy", "val_loss"} for row in run.metrics()] == [{"val_accuracy", "val_loss"}] * 3
    checkpoint = run.load(run.checkpoints / ("best" if select == "best" else "step-00000006"))
    files = checkpoint.files
    assert checkpoint.progress.step == step
    assert (run.checkpoints / "best").exists() == (select == "best")
    result = load_file(run.model / "model.safetensors")
    expected = files["model"] if select == "best" else files["mean"]
    assert all(torch.equal(result[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize(
    ("selections", "step"),
    [((0.5, 0.5, 0.5), 2), ((0.4, 0.5, 0.5), 4), ((-math.inf, -1.0, -1.0), 4), ((math.nan, 0.3, math.nan), 4)],
)
def test_the_best_weights_are_the_earliest_of_equals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, selections: tuple[float, ...], step: int
) -> None:
    """Three epochs of two steps with these validation metrics."""
    remaining = iter(selections)
    monkeypatch.setattr(ClassificationMetrics, "selection", property(lambda metrics: next(remaining)))
    sizes = {"data.digits.val": 701, "batch_size": 256, "schedule.steps": 6}
    chosen = config(**{**STILL, **sizes, "select": "best", "augmentation.mixup": 0.0})
    run = train(chosen, RunDirectory.create(chosen, tmp_path / "run")).run
    assert run.load(run.checkpoints / "best").progress.step == step


def test_a_broken_photograph_stops_before_or_is_counted(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos", ("train", "val"), count=60)
    (photos / "train/cat/3.png").write_bytes(b"broken")
    chosen = photos_config(photos, preflight=True)
    with pytest.raises(DataError, match=r"train/cat/3\.png"):
        train(chosen, RunDirectory.create(chosen, tmp_path / "stop"))
    assert not (tmp_path / "stop").exists()
    chosen = photos_config(photos, **{"data.bad_images": "skip", "schedule.epochs": 2})
    events: list = []
    train(chosen, RunDirectory.create(chosen, tmp_path / "skip"), on_event=events.append)
    assert any(e.row.get("skipped") == 1 for e in events if isinstance(e, EpochDone))
    assert any("train/cat/3.png" in e.text for e in events if isinstance(e, Note))


def test_fine_tuning_starts_from_a_run_with_a_new_head_and_size(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos", count=20)
    first = photos_config(photos, **{"schedule.epochs": 1})
    train(first, RunDirectory.create(first, tmp_path / "first"))
    others = make_photos(tmp_path / "others", classes=("sun", "sea", "sky"), count=10)
    second = photos_config(
        others, **{"model.init": str(tmp_path / "first"), "model.image_size": [24, 32], "schedule.epochs": 1}
    )
    result = train(second, RunDirectory.create(second, tmp_path / "second"))
    import saccade

    predictor = saccade.load(result.run.path)
    assert predictor.labels == ("sea", "sky", "sun")
    assert predictor.preprocess.size == (24, 32)
    assert predictor.source.provenance["init"]["data"]["name"] == "photos"


def test_bfloat16_trains(tmp_path: Path) -> None:
    exact = losses(tmp_path, "a")
    rough = losses(tmp_path, "b", precision="bfloat16")
    assert exact != rough
    assert exact == pytest.approx(rough, rel=0.05)


def test_what_does_not_fit_is_said_before_anything_is_computed(tmp_path: Path) -> None:
    for changes in ({"batch_size": 5000}, {"accumulation": 7}, {"device": "cuda:9"}, {"device": "abacus"}):
        chosen = config(**changes)
        with pytest.raises(ConfigError):
            train(
                chosen, RunDirectory.create(chosen, tmp_path / f"{next(iter(changes))}{next(iter(changes.values()))}")
            )


def test_time_is_accounted_for(tmp_path: Path) -> None:
    losses(tmp_path, "t", **{"schedule.steps": 30})
    told = json.loads((tmp_path / "t/model/config.json").read_text())["provenance"]
    shares = told["time_shares"]
    assert {"data", "augmentation", "forward", "backward", "optimizer"} <= shares.keys()
    assert math.fsum(shares.values()) <= 1.2 * told["seconds"] + 0.5
