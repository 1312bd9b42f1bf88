"""Five optimizer steps from the same weights: this package's model and optimizer, and timm's."""

import pytest
import torch
import torch.nn.functional as F

import saccade
from saccade.checkpoints.formats import timm_vit
from saccade.checkpoints.mapping import to_ours
from saccade.tasks.classification.distillation import DistillationTask
from saccade.training.config import OptimizerConfig
from saccade.training.ema import ExponentialMovingAverage
from saccade.training.optimizers import make_optimizer, set_lr

SIZES = {"block.embed_dim": 48, "block.num_heads": 3, "block.mlp_dim": 192, "depth": 3}
LRS = (1e-3, 2e-3, 3e-3, 2e-3, 1e-3)


def test_five_steps_of_a_vit_with_layer_decay_and_clipping() -> None:
    timm = pytest.importorskip("timm")
    optim = pytest.importorskip("timm.optim")
    torch.manual_seed(0)
    official = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=48, num_heads=3, depth=3, num_classes=5
    )
    model = saccade.create("vit_ti16", num_classes=5, image_size=32, options={**SIZES, "patch_size": [8, 8]})
    rules = timm_vit.rules(model.config)
    model.load_state_dict(to_ours(official.state_dict(), rules)[0])
    groups = optim.param_groups_layer_decay(
        official, weight_decay=0.05, no_weight_decay_list=official.no_weight_decay(), layer_decay=0.75
    )
    theirs = torch.optim.AdamW(groups, lr=LRS[0])
    ours = make_optimizer(model, OptimizerConfig(lr=LRS[0], weight_decay=0.05, layer_decay=0.75, betas=(0.9, 0.999)))
    averages = timm.utils.ModelEmaV2(official, decay=0.9), ExponentialMovingAverage(model, decay=0.9)
    images, classes = torch.randn(8, 3, 32, 32), torch.randint(5, (8,))
    for lr in LRS:
        losses = []
        for net, optimizer in ((official, theirs), (model, ours)):
            optimizer.zero_grad()
            loss = F.cross_entropy(net(images), classes)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            losses.append(loss.item())
        for group in theirs.param_groups:
            group["lr"] = lr * group["lr_scale"]
        set_lr(ours, lr)
        theirs.step()
        ours.step()
        averages[0].update(official)
        averages[1].update(model, step=1000)  # past the first steps, in which this package averages over fewer
        assert losses[1] == pytest.approx(losses[0], abs=1e-6)
    for reference, actual in (
        (official.state_dict(), model.state_dict()),
        (averages[0].module.state_dict(), averages[1].tensors),
    ):
        expected, _ = to_ours(reference, rules)
        assert expected.keys() == actual.keys()
        assert max((actual[name] - tensor).abs().max().item() for name, tensor in expected.items()) < 1e-5


def test_soft_distillation_is_the_code_of_deit_times_the_number_of_classes() -> None:
    task = DistillationTask(tuple("abcde"), teacher=lambda images: images, kind="soft", temperature=3.0)
    student, teacher = torch.randn(4, 5), torch.randn(4, 5)
    theirs = F.kl_div(
        F.log_softmax(student / 3, dim=1), F.log_softmax(teacher / 3, dim=1), reduction="sum", log_target=True
    ) * (3 * 3) / student.numel()  # fmt: skip
    assert (task.distance(student, teacher) / 4).item() == pytest.approx(5 * theirs.item(), rel=1e-5)
