"""`saccade models`: a table of the package, filtered by name and task."""

import json
import subprocess
import sys

import pytest

import saccade
from saccade.cli.main import main
from saccade.models.zoo import architecture_of
from saccade.tasks.table import TASKS, task_of


def rows(capsys, *arguments: str) -> list[dict]:
    assert main(["models", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_it_lists_every_model_in_order(capsys) -> None:
    listed = rows(capsys)
    assert [row["name"] for row in listed] == saccade.list_models()
    tasks = {name: task_of(architecture_of(name)) for name in saccade.list_models()}
    tasks |= {name: "segmentation" for name in tasks if name.endswith("_seg")}
    assert {row["name"]: row["task"] for row in listed} == tasks


def test_a_text_and_a_pattern_filter_by_name(capsys) -> None:
    assert [row["name"] for row in rows(capsys, "vit_b16")] == ["vit_b16", "clip_vit_b16", "masked_vit_b16"]
    assert [row["name"] for row in rows(capsys, "vit_b16", "--task", "classification")] == ["vit_b16"]
    assert [row["name"] for row in rows(capsys, "vit_b*")] == ["vit_b8", "vit_b16", "vit_b32", "vit_bigg14"]


def test_a_task_filters(capsys) -> None:
    assert {row["architecture"] for row in rows(capsys, "--task", "detection")} == {"detr", "yolo"}
    backbones = rows(capsys, "--task", "classification")
    assert backbones == rows(capsys, "--task", "regression") == rows(capsys, "--task", "multilabel")
    for task in TASKS:
        assert rows(capsys, "--task", task), task


def test_weights_and_licence(capsys) -> None:
    (row,) = rows(capsys, "detr_r50_dc5")
    assert (row["weights"], row["format"], row["licence"]) == (
        "hub:facebook/detr-resnet-50-dc5", "huggingface_detr", "Apache-2.0",
    )  # fmt: skip
    assert (row["params"], row["image_size"], row["tokens"]) == (41_524_768, [800, 1066], None)
    assert main(["models", "bert"]) == 0
    lines = capsys.readouterr().out.splitlines()
    base = next(line for line in lines if line.startswith("bert_base"))
    assert base.split()[1:3] == ["masked_lm", "109,482,240"]
    assert "512 tokens" in base
    assert base.endswith("hub:google-bert/bert-base-uncased (Apache-2.0)")


def test_another_size_is_measured(capsys) -> None:
    (row,) = rows(capsys, "vit_b16", "--task", "classification", "--image-size", "384")
    assert (row["params"], row["gmacs"], row["image_size"]) == (86_859_496, 55.484, [384, 384])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["zzz"], "no model has 'zzz' in its name; `saccade models` lists them all"),
        (["vit_bb16"], "did you mean vit_b16"),
        (["clip", "--task", "detection"], "no model whose name has 'clip' is for detection; there are some for contr"),
        (["--task", "detecting"], "there is no task 'detecting'; there are classification"),
    ],
)
def test_what_matches_nothing(arguments: list[str], message: str, capsys) -> None:
    assert main(["models", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_it_loads_no_torch() -> None:
    code = (
        "import sys; from saccade.cli.main import main; assert main(['models']) == 0; "
        "assert not {'torch', 'numpy', 'PIL'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)
