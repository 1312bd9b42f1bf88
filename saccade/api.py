"""Save, evaluate and explain a model in one call each, like the commands of the same names.

saccade.save(predictor, "model")
saccade.evaluate("model", "photos").metrics
saccade.explain("model", "cat.jpg").figure.savefig("cat.png")
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from saccade.analysis.image_maps import Method, image_map
from saccade.analysis.inputs import has_attention, without_probability
from saccade.analysis.map_score import BETWEEN_WORDS, NOT_OF_CLASS, ScoredMap, scored
from saccade.analysis.points import point_attention
from saccade.analysis.rise import RiseMasks
from saccade.analysis.token_maps import TOKEN_METHODS, TokenMaps, maps_of_words
from saccade.checkpoints.directory import LoadedModel, is_model_dir, save_model_dir
from saccade.data.batching import eval_batches
from saccade.data.images import ImageLike
from saccade.data.own import OwnDataset
from saccade.data.preprocessing import Preprocessing
from saccade.engine.collect import collect
from saccade.engine.evaluation import Evaluation
from saccade.engine.evaluation import evaluate as measure_split
from saccade.engine.predictor import Predictor, is_single
from saccade.engine.report import Drawing
from saccade.errors import ConfigError
from saccade.inference.backends.backend import Precision
from saccade.inference.export.export import Exported, Target, export_predictor
from saccade.models.catalogue import ARCHITECTURES
from saccade.models.model import Model
from saccade.nn.matmul_precision import matmul_precision
from saccade.nn.mode import evaluation_mode
from saccade.reporting.attention_plots import map_figure
from saccade.reporting.points import point_figure
from saccade.reporting.token_plots import token_figure
from saccade.tasks import table
from saccade.tasks.loading import load

OWN_DATA = "own data"  # split of an evaluation on a data set in memory


def save(
    model: Predictor | LoadedModel | Model,
    directory: str | Path,
    *,
    labels: Sequence[str] | None = None,
    preprocessing: Preprocessing | None = None,
    task: str | None = None,
) -> Path:
    """Write a model directory, which :func:`saccade.load`, every command and other programs can open.

    The write is atomic. An existing model directory is replaced; any other existing file or folder is an error.

    Args:
        model: a predictor, as :func:`saccade.load` returns it, with its labels and preprocessing; or a plain image
            model, as :func:`saccade.create` returns it.
        directory: where to write.
        labels: K class names in the order of the logits ``[B, K]``; required for a plain model with a head; for a
            predictor they replace its own.
        preprocessing: preprocessing of its images; required for a plain model.
        task: task of a plain model; that of its architecture by default, see `saccade models`.

    Returns:
        the directory.

    Raises:
        ConfigError: an argument is missing for a plain model, the model does not support the task, or there are other
            files at `directory`.
        CheckpointError: the numbers of labels and logits differ.
    """
    if isinstance(model, Predictor | LoadedModel):
        if task is not None:
            raise ConfigError("`task` is for a model alone: this one has its task")
        source = replace(model.source, model=model.model) if isinstance(model, Predictor) else model
        if labels is not None:
            source = replace(source, labels=tuple(labels))
        if preprocessing is not None:
            source = replace(source, preprocessing=preprocessing)
    else:
        source = _with_labels(model, labels, preprocessing, task)
    path = Path(directory)
    occupied = path.is_file() or (path.is_dir() and any(path.iterdir()) and not is_model_dir(path))
    if occupied:
        raise ConfigError(f"{path} already exists and is no model directory: choose another one")
    with evaluation_mode(source.model):
        return save_model_dir(path, source)


def evaluate(
    model: Predictor | str | Path,
    data: str | Path | OwnDataset,
    *,
    split: str = "auto",
    batch_size: int = 32,
    workers: int | None = None,
    device: torch.device | str | None = None,
    options: Mapping[str, Any] | None = None,
    on_inputs: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Measure a model on data with targets.

    Args:
        model: a predictor, or anything that :func:`saccade.load` opens.
        data: as for training: a folder, a table, a zip, shards, "digits" (see docs/data.md); or your own data set of
            (input ``[C, H, W]``, target), whose classes are numbered like the model's labels.
        split: "train", "val", "test", "all", or "auto": held-out inputs (the test split, or the validation split of the
            model's own training data), otherwise all inputs. Your own data set has no splits.
        batch_size: inputs per batch.
        workers: number of processes that load data; chosen for the machine by default.
        device: where the model runs, such as "cuda" or "auto"; the CPU by default. A predictor has its own device.
        options: options of the task's predictions, such as ``{"max_depth": 80.0}``.
        on_inputs: called with (inputs done, total number of inputs).

    Returns:
        a result whose `metrics` print as one line and have `to_dict()`; `split` and `note` describe what was measured,
        `collected` contains every output.

    Raises:
        DataError: the data cannot be read, or has a class that the model does not have.
        ConfigError: there is no such split, device or option.
        MeasurementError: outputs are NaN or infinite.
    """
    predictor = _predictor(model, device, options)
    if isinstance(data, str | Path):
        return measure_split(
            predictor, str(data), split=split, batch_size=batch_size, workers=workers, on_inputs=on_inputs
        )
    if split != "auto":
        raise ConfigError(f"your own data set has no splits: leave out split={split!r}")
    return _measure_own(predictor, data, batch_size, workers or 0, on_inputs)


def export(
    model: Predictor | str | Path,
    out: str | Path,
    *,
    to: Target = "onnx",
    attention: Sequence[int] = (),
    images: Sequence[str | Path] = (),
    tolerance: float | None = None,
    precision: Precision = "f32",
) -> Exported:
    """Write a model as one file: its inputs are uint8 images ``[B, H, W, C]`` of any size, its outputs are named
    results.

    Args:
        model: a predictor, or anything that :func:`saccade.load` opens.
        out: the file, or a folder for ``model.onnx``, ``model.xml`` or ``model.pt2``.
        to: format of the file: "onnx", "openvino" or "torch" (:func:`torch.export.load`).
        attention: indices of attention layers, in the order of the modules, whose weights the graph also returns.
        images: photographs or folders for the comparison with PyTorch; scikit-learn's two sample images by default.
        tolerance: largest difference from PyTorch as a fraction of an output's scale; 1e-4 by default, 5e-4 for
            OpenVINO.
        precision: precision of the weights, "f32", "bf16" or "int8"; an error if fewer than 95 % of images keep their
            predicted class.

    Returns:
        a result with `path`, `outputs` and the `parity` table.

    Raises:
        ConfigError: this kind of model cannot be exported, or a library is missing.
        ParityError: the file's outputs differ from the model's; the file is deleted.
    """
    paths = [Path(path) for path in images]
    return export_predictor(
        _predictor(model, None, None), out, to, attention=attention, images=paths,
        tolerance=tolerance, precision=precision,
    )  # fmt: skip


def explain(
    model: Predictor | str | Path,
    images: ImageLike | Iterable[ImageLike],
    *,
    point: tuple[float, float] | None = None,
    query: int | None = None,
    method: Method | RiseMasks | None = None,
    target: str | None = None,
    layer: int | None = None,
    head: int | None = None,
    score: bool = False,
    budget: str | int = "4 GiB",
    device: torch.device | str | None = None,
) -> Drawing:
    """Draw what a model attends to: a matplotlib figure with a row for each image.

    For a classifier: the rollout of all layers and each head of the last layer; for a DETR: its objects and the
    cross-attention of their queries; for a model that generates texts: the cross-attention of each token; for other
    models: the rollout, and Grad-CAM of a network without attention. With `point`, the attention of one patch in every
    layer; with `method`, `layer`, `head` or `query`, one map per image (:func:`saccade.analysis.image_maps.image_map`).
    For numbers instead of a picture, use `saccade.analysis` and :func:`saccade.record`.

    Args:
        model: a predictor, or anything that :func:`saccade.load` opens.
        images: one or several inputs of `Predictor.predict`.
        point: (x, y) as fractions in [0, 1] of the model's input, from the upper left corner; or column and row of a
            pixel. With a `method` for a class: the point whose depth, class or enclosing box is explained.
        query: index of an object query, or location, of a detector.
        method: of a single map per image; "attention" by default, "relevance" with a `target`, "grad-cam" of a network
            without attention; ``RiseMasks(4000)`` is "rise" with 4,000 masks.
        target: name of the class, for methods that depend on it; the predicted class by default.
        layer: of "attention" and "grad-cam", last one of "rollout" and "flow"; from 0, or negative from the end.
        head: head of "attention"; the mean of all heads by default.
        score: also measure the reliability of the map (:func:`saccade.analysis.map_score.score_map`).
        budget: memory that the attention of one image may take, in bytes or as "4 GiB".
        device: where the model runs, such as "cuda" or "auto"; the CPU by default. A predictor has its own device.

    Returns:
        a result with `figure`, and `lines` of text about each image.

    Raises:
        ImageError: an image cannot be read.
        RecordingError: the model has no attention over an image, or it is larger than the budget.
    """
    predictor = _predictor(model, device, None)
    inputs: list[ImageLike] = [images] if is_single(images) else list(images)  # type: ignore[arg-type,list-item]
    if not inputs:
        raise ConfigError("there is no image to explain: the list is empty")
    with evaluation_mode(predictor.model):
        if (method, target, layer, head, query, point) == (None,) * 6:
            attends, report = has_attention(predictor.model), table.report(predictor.task.name)
            own = report.explain(predictor, inputs, budget=str(budget), score=score) if attends else None
            if own is not None:
                return Drawing(own.figure, [*own.lines, *unscored(without_probability(predictor), score)])
            method = "rollout" if attends else "grad-cam"
        if (method, target, layer, head, query) != (None, None, None, None, None):
            name, alone = method or "attention", (query, point) != (None, None)
            words = None if alone else _maps_of_words(predictor, inputs, None, name, target, layer, head, budget)
            if words is not None:
                return Drawing(words.figure, [*words.lines, *unscored(BETWEEN_WORDS, score)])
            masks = method if isinstance(method, RiseMasks) else None
            default: Method = "attention" if target is None else "relevance"
            default = default if has_attention(predictor.model) else "grad-cam"
            chosen: Method = "rise" if isinstance(method, RiseMasks) else method or default
            maps = [
                image_map(
                    predictor, image, chosen, target=target, layer=layer, head=head, query=query, point=point,
                    masks=masks, budget=budget,
                )
                for image in inputs
            ]  # fmt: skip
            results = [scored(predictor, one) if score else ScoredMap(one, None) for one in maps]
            return Drawing(map_figure(results), _lines(results))
        assert point is not None
        points = [point_attention(predictor, image, point, budget=budget) for image in inputs]
    lines = [f"{p.name}: {point[0]:g}, {point[1]:g} in every layer" for p in points]
    return Drawing(point_figure(points), [*lines, *unscored(NOT_OF_CLASS, score)])


def explain_words(
    model: Predictor | str | Path,
    images: ImageLike | Iterable[ImageLike],
    text: str | Sequence[str],
    *,
    method: Method | RiseMasks | None = None,
    target: str | None = None,
    layer: int | None = None,
    head: int | None = None,
    score: bool = False,
    budget: str | int = "4 GiB",
    device: torch.device | str | None = None,
) -> Drawing:
    """Draw which patches of an image, and which words of a text, the output of an image-text model depends on.

    Args:
        model: a predictor of a CLIP, or anything that :func:`saccade.load` opens as one.
        images: one or several images.
        text: text that is compared with each image; with several texts the model is a classifier whose classes are the
            texts.
        method: with one text "relevance" for its similarity to the image by default; "attention", "rollout" or "flow"
            of the text encoder, the last two also of the image encoder. All others, and all methods with several
            texts, are maps over the image as :func:`explain` draws them.
        target: one of several texts; the most similar one by default.
        layer, head, score, budget, device: as for :func:`explain`.

    Raises:
        ConfigError: the model takes no texts in addition to images, or there is no such method.
    """
    predictor = _predictor(model, device, None)
    texts = (text,) if isinstance(text, str) else tuple(text)
    if len(texts) != 1 or method not in (None, *TOKEN_METHODS):
        return explain(
            table.report(predictor.task.name).classifier(predictor, texts), images, method=method,
            target=texts[0] if len(texts) == 1 and target is None else target, layer=layer, head=head, score=score,
            budget=budget,
        )  # fmt: skip
    inputs: list[ImageLike] = [images] if is_single(images) else list(images)  # type: ignore[arg-type,list-item]
    drawing = _maps_of_words(predictor, inputs, texts[0], method or "relevance", target, layer, head, budget)
    assert drawing is not None  # a text is refused where there are no words
    return Drawing(drawing.figure, [*drawing.lines, *unscored(BETWEEN_WORDS, score)])


def unscored(reason: str, score: bool) -> list[str]:
    """The line below maps without a score, if one was requested."""
    return [f"no score: {reason}"] if score and reason else []


def _maps_of_words(
    predictor: Predictor,
    inputs: Sequence[ImageLike],
    text: str | None,
    method: str | RiseMasks,
    target: str | None,
    layer: int | None,
    head: int | None,
    budget: str | int,
) -> Drawing | None:
    """Maps of words; None if the maps are over images only."""
    report, name = table.report(predictor.task.name), "rise" if isinstance(method, RiseMasks) else method
    maps = []
    for one in inputs:
        reading = report.reading(predictor, one, text)
        if reading is None:
            return None
        maps.append(maps_of_words(predictor, reading, name, target=target, layer=layer, head=head, budget=budget))
    return Drawing(token_figure(maps), _lines(maps))


def _lines(results: Sequence[ScoredMap | TokenMaps]) -> list[str]:
    """The text of the results, line by line; the name of an input stays on one line."""
    lines = []
    for one in results:
        name = one.map.name if isinstance(one, ScoredMap) else one.name
        lines += str(one).replace(name, name.replace("\n", "\\n"), 1).split("\n")
    return lines


def _predictor(
    model: Predictor | str | Path, device: torch.device | str | None, options: Mapping[str, Any] | None
) -> Predictor:
    if isinstance(model, str | Path):
        return load(model, device="cpu" if device is None else device, options=options)
    if not isinstance(model, Predictor):
        raise ConfigError(
            f"a {type(model).__name__} has no labels and no preprocessing: pass a predictor, as saccade.load returns "
            "it, or a path (saccade.save writes a model with both)"
        )
    if device is not None:
        raise ConfigError("a predictor has its own device: use predictor.to(device)")
    return model if options is None else model.with_options(options)


def _measure_own(
    predictor: Predictor,
    data: OwnDataset,
    batch_size: int,
    workers: int,
    on_inputs: Callable[[int, int], None] | None,
) -> Evaluation:
    total = len(data.source)
    progress = None if on_inputs is None else lambda done: on_inputs(done, total)
    batches = eval_batches(data, batch_size, workers=workers)  # type: ignore[arg-type]  # of its source only the length
    with matmul_precision(predictor.matmul_precision):
        collected = collect(predictor.model, batches, predictor.device, predictor.task, on_inputs=progress)
    return Evaluation(predictor.task.measure(collected), OWN_DATA, collected, "all of the data set")


def _with_labels(
    model: Model, labels: Sequence[str] | None, preprocessing: Preprocessing | None, task: str | None
) -> LoadedModel:
    """A plain model as the content of a model directory.

    Raises:
        ConfigError: something is missing.
    """
    kind = type(model)
    names = [n for n, (module, _, name) in ARCHITECTURES.items() if (module, name) == (kind.__module__, kind.__name__)]
    if not names:
        raise ConfigError(
            f"save writes models of saccade, not a {kind.__name__}; unwrap a compiled or distributed model first, and "
            "save one of your own with torch.save(model.state_dict(), …)"
        )
    architecture = names[0]
    tasks = [name for name in table.TASKS if architecture in table.config_class(name).ARCHITECTURES]
    if task is None and len(tasks) > 1:
        raise ConfigError(f"a {kind.__name__} is for {' or '.join(tasks)}: give the task")
    name = task or table.task_of(architecture)
    if not table.trains(name, architecture):
        raise ConfigError(f"a {kind.__name__} is for {' or '.join(tasks) or table.task_of(architecture)}, not {name}")
    if model.config.image_size is None:
        raise ConfigError(f"a {kind.__name__} has no vocabulary: save the predictor that saccade.load returns")
    if preprocessing is None:
        height, width = model.config.image_size
        raise ConfigError(
            "a plain model has no record of how images are prepared for it: give preprocessing=Preprocessing"
            f"(({height}, {width}), mean=…, std=…), from saccade.data.preprocessing"
        )
    if labels is None and model.config.num_classes:
        raise ConfigError(f"a plain model has no class names: give labels=… with {model.config.num_classes} names")
    source = LoadedModel(model, architecture, tuple(labels or ()), preprocessing, task=name)
    table.room(name).task(source)  # refuses what could not be used
    return source
