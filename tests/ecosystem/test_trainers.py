"""A ViT trains in the loops of other libraries: a model is a plain `torch.nn.Module`."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

import saccade


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_digits  # which takes a second

    data = load_digits()
    return torch.from_numpy(data.images[:64] / 8 - 1).float()[:, None], torch.from_numpy(data.target[:64])


def create() -> saccade.models.model.Model:
    torch.manual_seed(0)
    return saccade.create("vit_digits", options={"depth": 1})


def test_lightning(tmp_path: Path, digits: tuple[Tensor, Tensor]) -> None:
    lightning = pytest.importorskip("lightning")

    class Classifier(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = create()

        def training_step(self, batch, index):
            images, labels = batch
            return F.cross_entropy(self.model(images), labels)

        def configure_optimizers(self):
            return torch.optim.AdamW(self.parameters(), lr=3e-3)

    module = Classifier()
    before = F.cross_entropy(module.model(digits[0]), digits[1]).item()
    trainer = lightning.Trainer(
        max_steps=20, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(module, DataLoader(TensorDataset(*digits), batch_size=32))
    assert F.cross_entropy(module.model(digits[0]), digits[1]).item() < 0.8 * before


def test_accelerate(digits: tuple[Tensor, Tensor]) -> None:
    accelerate = pytest.importorskip("accelerate")
    accelerator = accelerate.Accelerator(cpu=True)
    model = create()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    model, optimizer, loader = accelerator.prepare(model, optimizer, DataLoader(TensorDataset(*digits), batch_size=32))
    losses = []
    for _ in range(10):
        for images, labels in loader:
            loss = F.cross_entropy(model(images), labels)
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    assert accelerator.unwrap_model(model).token_layout().num_tokens == 17


def test_skorch(digits: tuple[Tensor, Tensor]) -> None:
    skorch = pytest.importorskip("skorch")
    images, labels = (tensor.numpy() for tensor in digits)
    net = skorch.NeuralNetClassifier(
        create(), criterion=torch.nn.CrossEntropyLoss, optimizer=torch.optim.AdamW, lr=3e-3, max_epochs=15,
        batch_size=16, train_split=None, verbose=0,
    )  # fmt: skip
    net.fit(images.astype(np.float32), labels)
    assert net.score(images, labels) > 0.5
    assert net.predict_proba(images).shape == (64, 10)
