"""Retrieval and zero-shot classification of a CLIP against open_clip and scikit-learn."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from sklearn.metrics import top_k_accuracy_score
from torch import Tensor

from saccade.checkpoints.loading import load_model
from saccade.data.tokenizer import Tokenizer
from saccade.tasks.contrastive.metrics import RECALLS, retrieval_metrics
from saccade.tasks.contrastive.zero_shot import ZeroShot
from saccade.tasks.loading import predictor_of
from tests.parity.cases import randomised


def embeddings(num_images: int, captions: list[int], seed: int, noise: float = 1.3) -> tuple[Tensor, Tensor, Tensor]:
    """Unit vectors of images ``[N, E]`` and of texts ``[M, E]`` near those of their images, and the image of each."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(num_images, 32, generator=generator)
    owner = torch.arange(num_images).repeat_interleave(torch.tensor(captions))
    texts = images[owner] + noise * torch.randn(len(owner), 32, generator=generator)
    return F.normalize(images, dim=1), F.normalize(texts, dim=1), owner


@pytest.mark.parametrize("seed", range(3))
def test_recall_is_that_of_open_clip(seed: int) -> None:
    """`get_clip_metrics` of its validation, where each image has one text."""
    train = pytest.importorskip("open_clip_train.train")
    images, texts, owner = embeddings(300, [1] * 300, seed, noise=2.0)
    expected = train.get_clip_metrics(images, texts, torch.tensor(100.0))
    metrics = retrieval_metrics(images, texts, owner)
    assert metrics.image_to_text == pytest.approx([expected[f"image_to_text_R@{k}"] for k in RECALLS], abs=1e-12)
    assert metrics.text_to_image == pytest.approx([expected[f"text_to_image_R@{k}"] for k in RECALLS], abs=1e-12)
    assert np.mean(metrics.ranks) + 1 == pytest.approx(expected["image_to_text_mean_rank"])
    assert np.floor(np.median(metrics.ranks)) + 1 == expected["image_to_text_median_rank"]
    assert metrics.image_to_text != metrics.text_to_image
    assert 0.1 < metrics.image_to_text[0] < metrics.image_to_text[2] < 0.95


@pytest.mark.parametrize("seed", range(3))
def test_recall_with_several_captions(seed: int) -> None:
    """Texts against scikit-learn; of an image, whether any of its captions is among the K nearest (Karpathy & Fei-Fei,
    arXiv 1412.2306, and the `any` of torchmetrics' hit rate)."""
    captions = np.random.default_rng(seed).integers(1, 6, 200).tolist()
    images, texts, owner = embeddings(200, captions, seed, noise=2.5)
    metrics = retrieval_metrics(images, texts, owner)
    cosines = (images.double() @ texts.double().T).numpy()
    expected = [top_k_accuracy_score(owner.numpy(), cosines.T, k=k, labels=np.arange(200)) for k in RECALLS]
    assert metrics.text_to_image == pytest.approx(expected, abs=1e-12)
    own = owner.numpy()[np.argsort(-cosines, axis=1)] == np.arange(200)[:, None]  # [N, M] in the order of the ranking
    expected = [own[:, :k].any(axis=1).mean() for k in RECALLS]
    assert metrics.image_to_text == pytest.approx(expected, abs=1e-12)
    assert 0.1 < metrics.text_to_image[0] < metrics.image_to_text[0] < 0.95


def test_hit_rate_of_torchmetrics() -> None:
    retrieval = pytest.importorskip("torchmetrics.retrieval")
    captions = np.random.default_rng(5).integers(1, 6, 60).tolist()
    images, texts, owner = embeddings(60, captions, 5, noise=2.5)
    cosines = images @ texts.T
    own = owner[None] == torch.arange(60)[:, None]
    query = torch.arange(60)[:, None].expand_as(cosines)
    expected = []
    for k in RECALLS:
        metric = retrieval.RetrievalHitRate(top_k=k)
        expected.append(metric(cosines.flatten(), own.flatten(), indexes=query.flatten()).item())
    assert retrieval_metrics(images, texts, owner).image_to_text == pytest.approx(expected, abs=1e-6)


CLASSES = ["cat", "dog", "fire engine", "Tree frog", "car", "ship", "lamp", "cup", "red panda", "owl", "sky", "boat"]
TEMPLATES = ["a photo of a {}.", "{}", "a drawing of the {}, at night", "itap of a small {}!"]


def test_class_vectors_and_scores_are_those_of_open_clip(tmp_path: Path) -> None:
    open_clip = pytest.importorskip("open_clip")
    tokenizer = Tokenizer.train([*CLASSES, *TEMPLATES] * 5, vocab_size=560, context_length=24)
    vision = {"image_size": 32, "layers": 2, "width": 64, "patch_size": 16}
    text = {"context_length": 24, "vocab_size": tokenizer.vocab_size, "width": 64, "heads": 1, "layers": 2}
    torch.manual_seed(0)
    official = randomised(open_clip.CLIP(24, vision_cfg=vision, text_cfg=text)).eval()
    tensors = {name: value.contiguous() for name, value in official.state_dict().items() if name != "attn_mask"}
    save_file(tensors, tmp_path / "open_clip_model.safetensors")
    config = {"model_cfg": {"embed_dim": 24, "vision_cfg": vision, "text_cfg": text}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    predictor = predictor_of(load_model(tmp_path / "open_clip_model.safetensors"))
    classifier = ZeroShot(predictor, CLASSES, TEMPLATES, tokenizer)
    expected = open_clip.build_zero_shot_classifier(official, tokenizer, CLASSES, TEMPLATES)  # [E, K]
    torch.testing.assert_close(classifier.classes, expected.T, atol=1e-5, rtol=0)
    assert torch.pdist(expected.T).min() > 0.01  # no class is taken for another
    images = torch.randn(5, 3, 32, 32)
    with torch.no_grad():
        logits = official.logit_scale.exp() * official.encode_image(images, normalize=True) @ expected
    torch.testing.assert_close(classifier.scores(images), logits.softmax(1), atol=1e-4, rtol=0)
