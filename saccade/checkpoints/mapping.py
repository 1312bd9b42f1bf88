"""Mapping between another project's tensor names and layouts and ours: a table of rules that applies in both
directions.

A rule transforms some of their tensors by the same steps, joins them along the first axis and splits the result into
ours. Most rules only rename; Google's query, key and value kernels are three tensors that are transposed and joined.
Every step has an inverse and only rearranges numbers, so a round trip is bitwise identical.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from saccade.errors import CheckpointError

SHOWN = 12  # names of one kind that a printed report lists


@dataclass(frozen=True)
class Transpose:
    """Reorder the axes: `axes[i]` is the axis of theirs that becomes our axis i."""

    axes: tuple[int, ...]

    def ours(self, tensor: Tensor) -> Tensor:
        return tensor.permute(self.axes)

    def theirs(self, tensor: Tensor) -> Tensor:
        return tensor.permute(tuple(self.axes.index(i) for i in range(len(self.axes))))


@dataclass(frozen=True)
class Reshape:
    """Merge or split axes: a tensor of shape `before` in their file has the shape `after` here."""

    before: tuple[int, ...]
    after: tuple[int, ...]

    def ours(self, tensor: Tensor) -> Tensor:
        return tensor.reshape(self.after)

    def theirs(self, tensor: Tensor) -> Tensor:
        return tensor.reshape(self.before)


Step = Transpose | Reshape


@dataclass(frozen=True)
class Rule:
    """A rule: some of their tensors correspond to some of ours.

    Attributes:
        theirs: names in the file, in the order in which they are joined along the first axis.
        ours: names in the model; with more than one, the joined tensor is split into equal parts along the first axis.
        steps: applied to each of theirs, in this order, before joining.
        sizes: sizes of theirs along the first axis, if they are not equal.
        steps_after: for each of ours, the steps applied to it after splitting; none by default.
    """

    theirs: tuple[str, ...]
    ours: tuple[str, ...]
    steps: tuple[Step, ...] = ()
    sizes: tuple[int, ...] = ()
    steps_after: tuple[tuple[Step, ...], ...] = ()


def rename(theirs: str, ours: str, *steps: Step) -> Rule:
    return Rule((theirs,), (ours,), steps)


def join(theirs: Iterable[str], ours: str, *steps: Step) -> Rule:
    return Rule(tuple(theirs), (ours,), steps)


def split(theirs: str, ours: Iterable[str], *steps: Step) -> Rule:
    return Rule((theirs,), tuple(ours), steps)


def rename_both(theirs: str, ours: str) -> list[Rule]:
    """Rules for the weight and the bias of a layer whose tensors are only renamed."""
    return [rename(f"{theirs}.{part}", f"{ours}.{part}") for part in ("weight", "bias")]


def to_ours(tensors: Mapping[str, Tensor], rules: Iterable[Rule]) -> tuple[dict[str, Tensor], list[str]]:
    """(tensors under our names, unused names in `tensors`).

    A rule with missing tensors is not applied, so its tensors are missing in the result. Raises CheckpointError if a
    tensor does not have the shape that its rule needs.
    """
    named: dict[str, Tensor] = {}
    used: set[str] = set()
    for rule in rules:
        if not all(name in tensors for name in rule.theirs):
            continue
        parts = [_turned(rule.steps, name, tensors[name]) for name in rule.theirs]
        whole = parts[0] if len(parts) == 1 else torch.cat(parts)
        cut = _cut(rule, whole, len(rule.ours))
        after = rule.steps_after or ((),) * len(cut)
        named.update({ours: _turned(steps, rule.theirs[0], part) for ours, part, steps in zip(rule.ours, cut, after)})
        used.update(rule.theirs)
    return named, [name for name in tensors if name not in used]


def to_theirs(tensors: Mapping[str, Tensor], rules: Iterable[Rule]) -> dict[str, Tensor]:
    """Our tensors under their names: the inverse of :func:`to_ours`. Every tensor of ours must have a rule."""
    named: dict[str, Tensor] = {}
    used: set[str] = set()
    for rule in rules:
        missing = [name for name in rule.ours if name not in tensors]
        if missing:
            raise CheckpointError(f"The model has no {', '.join(missing)}, which {rule.theirs[0]} needs.")
        after = rule.steps_after or ((),) * len(rule.ours)
        parts = [_turned_back(steps, tensors[name]) for name, steps in zip(rule.ours, after)]
        whole = parts[0] if len(parts) == 1 else torch.cat(parts)
        cut = whole.split(rule.sizes) if rule.sizes else _cut(rule, whole, len(rule.theirs))
        for name, part in zip(rule.theirs, cut):
            named[name] = _turned_back(rule.steps, part).contiguous()
        used.update(rule.ours)
    left = [name for name in tensors if name not in used]
    if left:
        raise CheckpointError(f"The format has no place for {_listed(left)}.")
    return named


def _turned(steps: tuple[Step, ...], name: str, tensor: Tensor) -> Tensor:
    for step in steps:
        try:
            tensor = step.ours(tensor)
        except RuntimeError:
            raise CheckpointError(
                f"{name} has the shape {list(tensor.shape)}, which does not fit {step}: the file is not what its "
                "names suggest."
            ) from None
    return tensor


def _turned_back(steps: tuple[Step, ...], tensor: Tensor) -> Tensor:
    for step in reversed(steps):
        tensor = step.theirs(tensor)
    return tensor


def _cut(rule: Rule, tensor: Tensor, count: int) -> tuple[Tensor, ...]:
    if count == 1:
        return (tensor,)
    if tensor.shape[0] % count:
        raise CheckpointError(f"{rule.theirs[0]}: {tensor.shape[0]} rows cannot be cut into {count} equal parts.")
    return tensor.split(tensor.shape[0] // count)


@dataclass
class MappingReport:
    """Report of the mapping: the use of every tensor of the file and of the model. Printable.

    Attributes:
        loaded: our names that were loaded from the file, including resized ones.
        resized: our name -> the change, such as "14 x 14 -> 24 x 24 positions".
        new: our names that keep their fresh initial values.
        unused: names in the file that the model does not have.
        notes: assumptions, one sentence each.
        format: the project whose names the file uses.
    """

    loaded: list[str] = field(default_factory=list)
    resized: dict[str, str] = field(default_factory=dict)
    new: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    format: str = "saccade"

    def __str__(self) -> str:
        lines = [
            f"{self.format}: {len(self.loaded)} tensors loaded, {len(self.resized)} resized, "
            f"{len(self.new)} new, {len(self.unused)} unused"
        ]
        lines += [f"  resized {name}: {what}" for name, what in self.resized.items()]
        lines += [f"  new     {_listed(self.new)}"] if self.new else []
        lines += [f"  unused  {_listed(self.unused)}"] if self.unused else []
        lines += [f"  note    {note}" for note in self.notes]
        return "\n".join(lines)


def place(
    model: nn.Module, tensors: Mapping[str, Tensor], report: MappingReport, *, fresh: Iterable[str] = (), strict=True
) -> None:
    """Copy tensors under our names into the model, in the model's dtype, and fill the report.

    Args:
        model: the network, whose parameters and buffers in `tensors` are overwritten.
        tensors: tensors by our names; those that the model lacks count as unused.
        report: `loaded`, `new` and `unused` are extended.
        fresh: our names that should stay new (a head for other classes).
        strict: raise CheckpointError, listing both sides, when anything else is new or unused, and leave the model
            unchanged. A wrong shape is always an error.
    """
    state = model.state_dict()
    fresh = set(fresh)
    placed = [name for name in state if name in tensors and name not in fresh]
    new = [name for name in state if name not in tensors or name in fresh]
    # PyTorch before 0.4.1 wrote no counters of batch norms; they stay at 0, as torch's own loading leaves them.
    new = [name for name in new if name in fresh or not name.endswith(".num_batches_tracked")]
    unused = [name for name in tensors if name not in state and name not in fresh]
    problems = [
        f"  {name}: {list(tensors[name].shape)} in the file, {list(state[name].shape)} in the model"
        for name in placed
        if tensors[name].shape != state[name].shape
    ]
    if problems:
        raise CheckpointError("Shapes do not fit:\n" + "\n".join(problems[:SHOWN]))
    unplaced = [*report.unused, *unused]
    missing = [name for name in new if name not in fresh]
    if strict and (missing or unplaced):
        raise CheckpointError(
            f"The {report.format} file and the model do not match:\n"
            f"  in the file, without a place in the model: {_listed(unplaced) or 'none'}\n"
            f"  in the model, without values in the file:  {_listed(missing) or 'none'}\n"
            "With strict=False the model keeps fresh values for the second and the first is left out."
        )
    with torch.no_grad():
        for name in placed:
            state[name].copy_(tensors[name])
    report.loaded += placed
    report.new += new
    report.unused = unplaced


def require_finite_weights(model: nn.Module, report: MappingReport, source: object, *, strict: bool = True) -> None:
    """Raise CheckpointError, with their names, for parameters and statistics that are NaN or infinite.

    Other buffers may be infinite, such as the mask of causal attention. Unless `strict`, they are a note of the report.
    """
    named = [*model.named_parameters(), *((n, b) for n, b in model.named_buffers() if "running_" in n)]
    names = [name for name, tensor in named if not bool(torch.isfinite(tensor).all())]
    if not names:
        return
    text = f"{_listed(names)} {'has' if len(names) == 1 else 'have'} values that are NaN or infinite"
    if strict:
        raise CheckpointError(f"{source}: {text}, and predict nothing: of a run that diverged?")
    report.notes.append(text)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
