"""The commands on the pages, and how tests run them."""

import re
import shlex

CODE_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
# A model, a task, data or a recipe of a page's training -> options that make it small. Weights fill the disk.
SMALL = {
    "vit_ti16": ("model.options.depth=1",),
    "deit_ti16": ("model.options.depth=1",),
    "mae_ti16": ("model.options.depth=1", "model.options.decoder_depth=1"),
    "image_to_text_ti16": ("model.options.backbone_config.depth=1", "model.options.decoder_depth=1"),
    "clip_ti16": ("model.options.backbone_config.depth=1", "model.options.text.depth=1"),
    "resnet18": ("model.options.width=8",),
    "detection": ("model.options.backbone_config.width=8",),
    "resnet18_small": ("model.options.width=8",),
    "depth": ("model.options.features=16",),
    "segmentation": ("model.options.features=16",),
    "cifar": ("model.options.depth=1",),
    "scenes": ("data.scenes.train=64", "data.scenes.val=4", "data.scenes.test=8"),
    "strips": ("data.strips.train=64", "data.strips.val=8", "data.strips.test=8"),
    "numbers": ("data.numbers.train=640", "data.numbers.limit=1000", "data.numbers.val=8", "data.numbers.test=16"),
}


def commands(text: str) -> list[tuple[str, list[str]]]:
    """The lines of a block that call saccade, each with its arguments."""
    return [(line, shlex.split(line)[1:]) for line in text.splitlines() if line.startswith("saccade ")]


def page_commands(text: str) -> list[str]:
    """The lines of a page's bash blocks that call saccade: those that run."""
    return [line for language, code in CODE_BLOCK.findall(text) if language == "bash" for line, _ in commands(code)]


def as_it_stands(command: list[str]) -> list[str]:
    return command


def shortened(command: list[str]) -> list[str]:
    """The same training of a small model on few data in two small steps, without the check before it.

    A training that has few steps as it stands remains as it is.
    """
    if command[0] not in ("train", "pretrain") or {"--resume", "--steps", "--dry-run"} & set(command):
        return command
    options = ["preflight=false", *(option for name in command for option in SMALL.get(name, ()))]
    given = {part.partition("=")[0] for part in command}
    options = [option for option in options if option.partition("=")[0] not in given]
    if "--batch-size" not in command and "batch_size" not in given:
        options.append("batch_size=4")
    if "--epochs" in command:
        place = command.index("--epochs")
        command = [*command[:place], *command[place + 2 :]]
    return [*command, "--steps", "2", *(part for option in options for part in ("--set", option))]
