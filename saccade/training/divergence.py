"""Options of a run that may have made its loss, gradient or weights NaN or infinite."""

from dataclasses import asdict, is_dataclass

from saccade.training.config import RunConfig

LR = 0.01  # of AdamW, which hardly any model needs more of
BACKBONE_LR = 10.0
LAYER_DECAY = 1.0
SHRINK = 0.5  # part of the weights that weight decay takes off in one step
CLIP_NORM = 100.0
EPS = 1e-30  # smaller ones are 0 next to a squared gradient in float32
RHO, ADAPTIVE_RHO = 1.0, 10.0
TASK_OPTION = 1000.0  # of weights of losses and the like


def unusual_options(config: RunConfig) -> list[str]:
    """The options whose values are known to cause NaN or infinity, with these values, the most likely first."""
    optimizer, sam = config.optimizer, config.sam
    options = []
    if config.peak_lr > LR:
        scaled = (
            "" if optimizer.lr_batch is None else f", which is {config.peak_lr:g} for batch_size={config.batch_size}"
        )
        options.append(f"optimizer.lr={optimizer.lr:g}{scaled} (AdamW's are 1e-5 to 1e-2)")
    if sam.rho is not None and sam.rho > (ADAPTIVE_RHO if sam.adaptive else RHO):
        options.append(f"sam.rho={sam.rho:g} (the radius is usually {'0.5 to 2' if sam.adaptive else '0.02 to 0.5'})")
    if config.peak_lr * optimizer.weight_decay > SHRINK:
        part = config.peak_lr * optimizer.weight_decay
        options.append(
            f"optimizer.weight_decay={optimizer.weight_decay:g} (each step reduces a weight by a fraction of {part:g})"
        )
    if optimizer.backbone_lr > BACKBONE_LR:
        options.append(
            f"optimizer.backbone_lr={optimizer.backbone_lr:g} (a factor of the learning rate, usually 0 to 1)"
        )
    if optimizer.layer_decay > LAYER_DECAY:
        options.append(f"optimizer.layer_decay={optimizer.layer_decay:g} (lower layers get a larger learning rate)")
    if optimizer.betas[0] ** 2 > optimizer.betas[1]:
        options.append(f"optimizer.betas={list(optimizer.betas)} (AdamW diverges unless the second is near 1)")
    if optimizer.eps < EPS:
        options.append(f"optimizer.eps={optimizer.eps:g} (0 in float32; usually 1e-8)")
    if is_dataclass(config.options) and not isinstance(config.options, type):
        large = {k: v for k, v in asdict(config.options).items() if isinstance(v, float) and v > TASK_OPTION}
        options += [f"{config.task}.{name}={value:g}" for name, value in large.items()]
    if optimizer.clip_norm == 0:
        options.append("optimizer.clip_norm=0 (gradients are not clipped; usually 1)")
    elif optimizer.clip_norm > CLIP_NORM:
        options.append(f"optimizer.clip_norm={optimizer.clip_norm:g} (gradients of up to this norm are not clipped)")
    return options


def advice(config: RunConfig, precision: str = "float32") -> str:
    """The options to change after a run has diverged, in one sentence.

    Args:
        config: of the run.
        precision: of its forward passes, float32 or bfloat16.
    """
    options = unusual_options(config)
    lr = f"optimizer.lr={config.optimizer.lr:g}"
    if options:
        text = f"The likely cause: {'; '.join(options)}"
        text += "" if config.peak_lr > LR else f". Otherwise try a smaller learning rate than {lr}"
    else:
        text = f"No option is far from its usual values: try a smaller learning rate than {lr}"
    return text + (", and precision=float32 instead of bfloat16" if precision == "bfloat16" else "")
