"""Zero-shot classification: classes described by texts (Radford et al., arXiv 2103.00020, section 3.1).

The vector of a class is the mean of the vectors of its prompts; an image belongs to the class whose vector is nearest.

B images, K classes, M templates, E width of the common space.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from saccade.checkpoints.directory import LoadedModel
from saccade.data.class_names import readable_names
from saccade.data.image_folder import open_data
from saccade.data.samples import ImageSource
from saccade.data.text_tokenizer import TextTokenizer
from saccade.engine.evaluation import choose_split
from saccade.engine.features import extract
from saccade.engine.predictor import ImageLike, Predictor, name_of
from saccade.errors import ConfigError
from saccade.models.clip import CLIP, ClipOutput
from saccade.models.zero_shot import ZeroShotClassifier
from saccade.tasks.classification.metrics import ClassificationMetrics, classification_metrics
from saccade.tasks.classification.results import Classification
from saccade.tasks.classification.room import ROOM
from saccade.tasks.contrastive.prompts import TEMPLATE, check_prompts
from saccade.tasks.contrastive.texts import embed_texts, tokenizer_of


class ZeroShot:
    """A CLIP as a classifier.

    Args:
        predictor: a CLIP.
        labels: K class names.
        templates: M prompts with ``{}`` in place of the class name.
        tokenizer: tokenizer of the model; by default that in its folder, or OpenAI's from an installed package.

    Raises:
        ConfigError: the model has no text encoder, or a template has no ``{}``.
    """

    def __init__(
        self,
        predictor: Predictor,
        labels: Sequence[str],
        templates: Sequence[str] = (TEMPLATE,),
        tokenizer: TextTokenizer | None = None,
    ):
        check_prompts(tuple(labels), tuple(templates))
        self.tokenizer = tokenizer or tokenizer_of(predictor)
        assert isinstance(predictor.model, CLIP)
        self.predictor, self.model = predictor, predictor.model
        self.labels, self.templates = tuple(labels), tuple(templates)
        self.independent = self.model.config.objective == "sigmoid"
        self.classes = self._class_vectors()

    def _class_vectors(self) -> Tensor:
        """A unit vector for each class: the mean over its prompts, ``[K, E]``."""
        means = []
        for label in self.labels:
            prompts = [template.replace("{}", label) for template in self.templates]
            means.append(embed_texts(self.predictor, self.tokenizer, prompts).mean(dim=0))
        return F.normalize(torch.stack(means), dim=-1)

    @torch.inference_mode()
    def logits(self, vectors: Tensor) -> Tensor:
        """Vectors of images ``[B, E]``, of any length -> ``[B, K]``."""
        return ClipOutput(
            F.normalize(vectors.to(self.classes), dim=-1), self.classes, self.model.logit_scale.exp(),
            self.model.logit_bias,
        ).logits  # fmt: skip

    @torch.inference_mode()
    def scores(self, images: Tensor) -> Tensor:
        """Preprocessed images ``[B, C, H, W]`` -> probabilities ``[B, K]`` on the CPU.

        They sum to 1 over the classes, except for a model whose objective is sigmoid: there each is the probability
        that the image and the text of this class belong together, whatever the other classes are.
        """
        logits = self.logits(self.model.encode_image(images.to(self.predictor.device)).float())
        return (logits.sigmoid() if self.independent else logits.softmax(dim=-1)).cpu()

    def stream(self, images: Sequence[ImageLike], *, top: int = 5, batch_size: int = 32) -> Iterator[Classification]:
        """The best classes of each image, one after the other."""
        for start in range(0, len(images), batch_size):
            part = images[start : start + batch_size]
            scores = self.scores(torch.stack([self.predictor.prepare(image) for image in part]))
            for index, (image, row) in enumerate(zip(part, scores), start):
                values, classes = row.topk(min(top, len(self.labels)))
                best = tuple((self.labels[i], v) for i, v in zip(classes.tolist(), values.tolist()))
                yield Classification(name_of(image, index), *best[0], best)


def zero_shot_classifier(predictor: Predictor, texts: Sequence[str]) -> Predictor:
    """A CLIP as a predictor of classification, for every analysis of classifiers; the image encoder is not copied.

    Args:
        predictor: a CLIP.
        texts: K classes, as they are: the logits are the similarities of an image with them.

    Raises:
        ConfigError: the model has no text encoder, or a text is repeated or empty.
    """
    if not texts or len(set(texts)) != len(texts) or not all(text.strip() for text in texts):
        raise ConfigError(f"give at least one text, each once, not {', '.join(map(repr, texts)) or 'none'}")
    vectors = embed_texts(predictor, tokenizer_of(predictor), texts)
    assert isinstance(predictor.model, CLIP)
    net = ZeroShotClassifier(predictor.model, vectors.clone())
    source = LoadedModel(net, "zero-shot classifier", tuple(texts), predictor.preprocess)
    return Predictor(source, ROOM, device=predictor.device, max_pixels=predictor.max_pixels)


@dataclass(frozen=True)
class ZeroShotEvaluation:
    """The metrics of zero-shot classification.

    Attributes:
        single: metrics with the first template alone.
        ensemble: metrics with the mean of all templates.
        split, note: the measured split, and the reason for it.
    """

    single: ClassificationMetrics
    ensemble: ClassificationMetrics
    split: str
    note: str


def evaluate_zero_shot(
    predictor: Predictor,
    data: str,
    labels: Sequence[str] = (),
    templates: Sequence[str] = (TEMPLATE,),
    *,
    vocabulary: str = "",
    split: str = "auto",
    batch_size: int = 32,
    cache: Path | None = None,
    on_images: Callable[[int], None] | None = None,
) -> ZeroShotEvaluation:
    """Measure zero-shot classification on labelled images.

    Args:
        predictor: a CLIP.
        data: as for training a classifier.
        labels: a name for each class of the data, in order; the data's own names by default.
        templates: prompts with ``{}`` in place of the class name.
        vocabulary: see :func:`~saccade.tasks.contrastive.texts.tokenizer_of`.
        split: as for :func:`~saccade.engine.evaluation.evaluate`.
        batch_size: images at once.
        cache: folder that keeps the images' vectors.
        on_images: called with the number of images done so far.

    Raises:
        ConfigError: not exactly one name per class.
    """
    tokenizer = tokenizer_of(predictor, vocabulary)
    splits, parts, note = choose_split(predictor, data, split, partial(open_data, for_training=False))
    names = tuple(labels) or readable_names(splits.classes)
    if names != splits.classes and not labels:
        note += f"; synsets of ImageNet have their names in the prompts: {splits.classes[0]} is {names[0]!r}"
    if len(names) < 2:
        raise ConfigError(f"{data} has a single class ({', '.join(names)}): zero-shot needs two or more")
    if len(names) != len(splits.classes):
        raise ConfigError(
            f"{data} has {len(splits.classes)} classes ({', '.join(splits.classes[:10])}), and {len(names)} names were "
            "given: give one for each, in this order"
        )
    features, done = [], 0
    for part in parts.values():
        report = None if on_images is None else lambda count, before=done: on_images(before + count)
        images = cast(ImageSource, part)
        features.append(
            extract(predictor, images, splits.fingerprint, cache=cache, batch_size=batch_size, on_images=report)
        )
        done += len(part)
    vectors, target = torch.cat([f.values for f in features]), torch.cat([f.labels for f in features])
    single, ensemble = (
        classification_metrics(ZeroShot(predictor, names, prompts, tokenizer).logits(vectors).cpu(), target, names)
        for prompts in (templates[:1], templates)
    )
    return ZeroShotEvaluation(single, ensemble, "+".join(parts), note)
