"""Measure a model on labelled images: whose they are, which split, and under which names its classes go there."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch

from saccade.data.augmentation import EvalTransform
from saccade.data.batching import BatchDataset, default_workers, eval_batches, image_dataset
from saccade.data.boxed_batches import BoxDataset, BoxTransform
from saccade.data.boxes import open_boxes
from saccade.data.config import DataConfig, read_data_config
from saccade.data.dense import DenseSource, Kind, open_dense
from saccade.data.dense_batches import DenseDataset, DenseTransform
from saccade.data.image_folder import open_data
from saccade.data.pair_batches import CaptionDataset
from saccade.data.pairs import open_pairs
from saccade.data.samples import (
    BoxSource,
    CaptionSource,
    DataSplits,
    ImageSource,
    Source,
    TextSource,
    TranslationSource,
)
from saccade.data.text_batches import ImageTextDataset, MaskedTextDataset, TokenMasking, TranslationDataset
from saccade.data.texts import open_texts, open_translations
from saccade.errors import ConfigError, DataError
from saccade.inference.predictor import Predictor
from saccade.inference.texts import tokenizer_of
from saccade.nn.matmul_precision import matmul_precision
from saccade.tasks.collect import Collected, Keep, collect
from saccade.tasks.task import Metrics
from saccade.tasks.translation import TranslationTask
from saccade.tasks.words import MaskedWords

KINDS: dict[str, Kind] = {"depth": "depth", "segmentation": "masks"}  # task -> what lies beside the images
NO_CLASSES = ("contrast", "translation", "words")
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Evaluation:
    """What came out.

    Attributes:
        metrics: the task's, over all classes of the model.
        split: "test", "val", "train" or "all".
        collected: the raw outputs behind it.
        note: what was chosen and why, for people.
    """

    metrics: Metrics
    split: str
    collected: Collected
    note: str


def evaluate(
    predictor: Predictor,
    data: str,
    *,
    split: str = "auto",
    batch_size: int = 32,
    workers: int | None = None,
    on_images: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Measure a model on a data set.

    Args:
        predictor: the model.
        data: as for training: a folder, a CSV, a zip, shards, "digits".
        split: "train", "val", "test", "all", or "auto": the test split where the data has one of its own or is what
            the model was trained on (cut the same way, so that no image of its training is in it); else all images.
        batch_size: images at once.
        workers: loader processes; after the machine unless given.
        on_images: called with (images done, images in all).

    Raises:
        DataError: a class of the data is none of the model's.
    """
    task = predictor.about
    collected, parts, note = collect_split(predictor, data, task.keep, split, batch_size, workers, on_images)
    return Evaluation(task.measure(collected.outputs, collected.targets), "+".join(parts), collected, note)


def collect_split(
    predictor: Predictor,
    data: str,
    keep: Keep,
    split: str = "auto",
    batch_size: int = 32,
    workers: int | None = None,
    on_images: Callable[[int, int], None] | None = None,
) -> tuple[Collected, tuple[str, ...], str]:
    """What `keep` keeps of the outputs over a split, the splits that it came from, and why these; as :func:`evaluate`.

    Targets are in the model's numbers of classes.
    """
    splits, parts, note = choose_split(predictor, data, split)
    has_classes = predictor.task not in NO_CLASSES
    labels = place_labels(splits.classes if has_classes else (), predictor.labels, data)
    total = sum(len(part) for part in parts.values())
    task = predictor.about
    found, done = [], 0
    with matmul_precision(predictor.matmul_precision):
        for part in parts.values():
            images = prepared_for(predictor, part)
            count = default_workers(images) if workers is None else workers
            batches = eval_batches(images, batch_size, workers=count)
            before = done
            report = None if on_images is None else lambda n, before=before: on_images(before + n, total)
            found.append(collect(predictor.model, batches, predictor.device, run=task.run, keep=keep, on_images=report))
            done += len(part)
    collected = Collected.joined(found)
    targets = collected.targets
    if has_classes and predictor.task not in KINDS:
        targets = renumbered(targets, torch.from_numpy(labels))
    elif predictor.task == "segmentation" and splits.classes != predictor.labels:
        raise DataError(f"{data} has other classes, or in another order, than the model")
    return Collected(collected.outputs, targets, collected.names), tuple(parts), note


def prepared_for(predictor: Predictor, part: Source) -> BatchDataset:
    """Images of a split as the model takes them, with what its task compares."""
    if isinstance(predictor.about, MaskedWords | TranslationTask):
        return prepared_texts(predictor, part)
    preprocessing = predictor.preprocess
    if predictor.task in KINDS:
        return DenseDataset(cast(DenseSource, part), DenseTransform(preprocessing))
    if predictor.task == "detection":
        masks = getattr(predictor.model.config, "masks", False) and knows_masks(cast(BoxSource, part))
        return BoxDataset(cast(BoxSource, part), BoxTransform(preprocessing), masks=masks)
    if predictor.task == "contrast":
        return CaptionDataset(cast(CaptionSource, part), EvalTransform(preprocessing), tokenizer_of(predictor))
    return image_dataset(
        cast(ImageSource, part), EvalTransform(preprocessing), (preprocessing.channels, *preprocessing.size)
    )


def prepared_texts(predictor: Predictor, part: Source) -> BatchDataset:
    """Texts of a split, or images with what they say, as numbers; words are hidden as the model was trained."""
    about, length = predictor.about, predictor.model.config.context_length
    if isinstance(about, MaskedWords):
        told = predictor.source.provenance.get("words", {})
        masking = TokenMasking(**{name: told[name] for name in ("share", "masked", "random") if name in told})
        masking = replace(masking, pairs=bool(told.get("next_sentence")))
        return MaskedTextDataset(cast(TextSource, part), about.vocabulary, length, masking)
    assert isinstance(about, TranslationTask)
    if predictor.source.preprocessing is None:
        return TranslationDataset(cast(TranslationSource, part), about.vocabulary, length)
    transform = EvalTransform(predictor.preprocess)
    return ImageTextDataset(cast(CaptionSource, part), transform, about.vocabulary, length)


def knows_masks(source: BoxSource) -> bool:
    """Whether things come with their pixels; the first image tells."""
    return source.with_boxes(0).masks is not None


def renumbered(targets: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The data's class numbers as the model's: of labels ``[N]``, or in the last column of boxes ``[N, n, 5]``."""
    if not targets.is_floating_point():
        return labels[targets]
    known = ~targets[..., 4].isnan()
    changed = targets.clone()
    changed[..., 4][known] = labels[targets[..., 4][known].long()].to(targets)
    return changed


def choose_split(
    predictor: Predictor, data: str, split: str, open_splits: Callable[[str, DataConfig], DataSplits] | None = None
) -> tuple[DataSplits, dict[str, Source], str]:
    """(the data, the splits to measure on, why these); opened as the model's task asks unless told otherwise."""
    trained_on = predictor.source.provenance.get("data") or {}
    same_cut = read_data_config(trained_on["config"]) if "config" in trained_on else DataConfig()

    def opened(data: str, config: DataConfig) -> DataSplits:
        if open_splits is not None:
            return open_splits(data, config)
        if predictor.task in KINDS:
            return open_dense(data, KINDS[predictor.task], config)
        if predictor.task == "translation":
            return (open_pairs if predictor.source.preprocessing else open_translations)(data, config)
        openers = {"detection": open_boxes, "contrast": open_pairs, "words": open_texts}
        return openers.get(predictor.task, open_data)(data, config)

    splits = opened(data, same_cut)
    was_trained_on = trained_on.get("fingerprint") == splits.fingerprint
    if not was_trained_on:
        splits = opened(data, DataConfig(test_fraction=0.0, val_fraction=0.0, scenes=same_cut.scenes))
    parts = {name: part for name in SPLITS if (part := getattr(splits, name)) is not None}
    if split == "all":
        return splits, parts, "all images, as asked"
    if split == "auto" and "test" in parts:
        why = "the test split, which it was not trained on" if was_trained_on else "the data's own test split"
        return splits, {"test": parts["test"]}, why
    if split == "auto" and was_trained_on and "val" in parts:
        return splits, {"val": parts["val"]}, "the validation split, by which its weights were chosen"
    if split == "auto":
        return splits, parts, "all images; the data has no test split of its own, and is not what it was trained on"
    if split not in SPLITS:
        raise ConfigError(f"there is no split {split!r}: choose auto, all, {', '.join(SPLITS)}")
    if split not in parts:
        raise DataError(f"{data} has no {split} split; it has {', '.join(parts)}")
    return splits, {split: parts[split]}, "as asked"


def place_labels(classes: tuple[str, ...], labels: tuple[str, ...], data: str) -> np.ndarray:
    """For each class of the data, its place among the model's classes, by name. ``[len(classes)]`` int64."""
    place = {name: index for index, name in enumerate(labels)}
    strangers = [name for name in classes if name not in place]
    if strangers:
        raise DataError(
            f"{data} has classes that the model does not know: {', '.join(strangers[:8])}; it knows "
            f"{', '.join(labels[:8])}{' …' if len(labels) > 8 else ''}"
        )
    return np.array([place[name] for name in classes], dtype=np.int64)
