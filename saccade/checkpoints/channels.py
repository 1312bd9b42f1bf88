"""Adaptation of a trained model to another number of channels, as in timm's `adapt_input_conv`."""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from saccade.checkpoints.mapping import MappingReport
from saccade.data.preprocessing import Preprocessing
from saccade.errors import CheckpointError


def adapt_channels(weight: Tensor, channels: int) -> Tensor:
    """The first convolution of a model for another number of channels: ``[D, C, p, q]`` -> ``[D, channels, p, q]``.

    One channel gets the sum of the kernels. Several get the kernels in turn (1, 2, 3, 1, 2, ... of an RGB model), times
    C / channels, so that an image with identical channels has the same output as before.
    """
    old = weight.shape[1]
    if channels == 1:
        return weight.float().sum(1, keepdim=True).to(weight.dtype)
    return (weight.float().repeat(1, -(-channels // old), 1, 1)[:, :channels] * (old / channels)).to(weight.dtype)


def preprocessing_for(preprocessing: Preprocessing, channels: int) -> Preprocessing:
    """The preprocessing with the statistics of the kernels that :func:`adapt_channels` gives to each channel."""

    def statistic(values: tuple[float, ...]) -> tuple[float, ...]:
        if channels == 1:
            return (sum(values) / len(values),)
        return tuple(values[i % len(values)] for i in range(channels))

    mean, std = statistic(preprocessing.mean), statistic(preprocessing.std)
    return replace(preprocessing, channels=channels, mean=mean, std=std)


def adapt_tensors(
    tensors: dict[str, Tensor], new_state: Mapping[str, Tensor], old_channels: int, channels: int, report: MappingReport
) -> tuple[str, ...]:
    """Adapt the tensors that depend on the number of channels, in place.

    Args:
        tensors: tensors of the trained model.
        new_state: state dict of a new model with `channels` channels and otherwise the same shapes.
        old_channels: number of channels of the trained model.
        channels: number of channels of the new model.
        report: adapted tensors are added to `resized`.

    Returns:
        names of the tensors that predict pixels (of a masked autoencoder), which must be new.

    Raises:
        CheckpointError: the first layer of the model is not a convolution.
    """
    fresh = []
    for name, tensor in tensors.items():
        if name not in new_state or tensor.shape == new_state[name].shape:
            continue
        if tensor.ndim == 4 and tensor.shape[1] == old_channels and new_state[name].shape[1] == channels:
            tensors[name] = adapt_channels(tensor, channels)
            how = "summed" if channels == 1 else f"repeated, times {old_channels}/{channels}"
            report.resized[name] = f"{old_channels} -> {channels} channels, {how}"
        elif tensor.shape[1:] == new_state[name].shape[1:]:
            fresh.append(name)
        else:
            raise CheckpointError(
                f"in_channels={channels}: {name} of this model reads the {old_channels} channels of a pixel together "
                "with its position and cannot be adapted: train it from scratch, or use a model that begins with a "
                "convolution"
            )
    return tuple(fresh)


def require_channels(channels: int) -> None:
    """Raise CheckpointError unless it is a number of channels."""
    if channels < 1:
        raise CheckpointError(f"in_channels must be a positive number, not {channels}")
