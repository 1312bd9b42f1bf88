"""Configs of earlier versions: every old name has its place today, and nothing is lost on the way."""

import pytest
import yaml

from saccade.errors import ConfigError
from saccade.tasks.table import TASKS, config_class
from saccade.training.config import from_dict, read_config, resolve
from saccade.upgrade import BLOCKS, OPTIONS, is_old_config, task_name, upgrade_config
from saccade.upgrade import TASKS as OLD_TASKS
from tests.golden.cases import RUNS

OLD_CONFIGS = sorted(RUNS.glob("*/config.yaml"))


@pytest.mark.parametrize("path", OLD_CONFIGS, ids=lambda path: path.parent.name)
def test_an_old_config_is_read_and_written_in_todays_words(path) -> None:
    old = yaml.safe_load(path.read_text())
    assert is_old_config(old)
    config = read_config(path)
    assert config.task == task_name(old["task"])
    assert (config.seed, config.batch_size, config.optimizer.lr) == (
        old["seed"],
        old["batch_size"],
        old["optimizer"]["lr"],
    )
    again = yaml.safe_load(config.to_yaml())
    assert not is_old_config(again)
    assert from_dict(again) == config
    assert not {"detection", "depth", "segmentation", "contrast", "words"} & set(again) - {config.task}


def test_the_options_of_the_task_are_kept() -> None:
    stored = {"translation": {}, "words": {"share": 0.3, "masked": 0.7}, "contrast": {}, "task": "words", "seed": 3}
    upgraded = upgrade_config({**stored, "sharpness": {"rho": 0.1}, "label_smoothing": 0.2, "distillation": {}})
    assert upgraded == {
        "task": "masked_lm", "seed": 3, "sam": {"rho": 0.1}, "masked_lm": {
            OPTIONS["masked_lm"].get(key, key): value for key, value in stored["words"].items()
        },
    }  # fmt: skip
    classes = upgrade_config({**stored, "task": "classify", "label_smoothing": 0.2, "distillation": {"alpha": 0.1}})
    assert classes["classification"] == {"label_smoothing": 0.2, "distillation": {"alpha": 0.1}}


def test_the_table_leads_to_tasks_and_options_of_today() -> None:
    assert set(OLD_TASKS.values()) | set(BLOCKS.values()) <= set(TASKS)
    for task, names in OPTIONS.items():
        assert set(names.values()) <= set(config_class(task).__dataclass_fields__)


def test_old_names_are_errors_in_a_new_config() -> None:
    with pytest.raises(ConfigError, match="no option sharpness"):
        from_dict({"task": "classification", "sharpness": {"rho": 0.1}})
    with pytest.raises(ConfigError, match="no option detection"):
        from_dict({"task": "classification", "detection": {}})
    with pytest.raises(ConfigError, match="there is no task 'clasification'; there are classification, "):
        resolve(overrides={"task": "clasification"})
    with pytest.raises(ConfigError, match="no task 'segment'; segmentation is its name today"):
        resolve(overrides={"task": "segment"})


def test_an_option_of_the_task_may_be_named_without_the_task() -> None:
    config = resolve(overrides={"label_smoothing": 0.3, "distillation.alpha": 0.9})
    assert config.options.label_smoothing == 0.3
    assert config.options.distillation.alpha == 0.9
    assert resolve(overrides={"classification.label_smoothing": 0.3}).options.label_smoothing == 0.3
