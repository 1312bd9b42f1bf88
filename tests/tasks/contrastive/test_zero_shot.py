"""Zero-shot classification: logits by hand, the command, refusals."""

import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import saccade
from saccade.checkpoints.directory import LoadedModel, save_model_dir
from saccade.cli.main import main
from saccade.data.samples import Batch
from saccade.data.tokenizer import Tokenizer
from saccade.engine.images import fresh_preprocessing
from saccade.errors import ConfigError
from saccade.models.clip import CLIP
from saccade.tasks.contrastive.config import ContrastiveConfig
from saccade.tasks.contrastive.graph import EmbeddingGraph
from saccade.tasks.contrastive.prompts import read_lines
from saccade.tasks.contrastive.search import Hit, SearchIndex
from saccade.tasks.contrastive.setup import fresh_clip, make_setup, starting_model
from saccade.tasks.contrastive.texts import require_size, tokenizer_of
from saccade.tasks.contrastive.zero_shot import ZeroShot
from saccade.training.config import ModelConfig, resolve, with_overrides

pytest.importorskip("tokenizers")
WORDS = ["a small three", "a large seven", "a photo of a five"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    tokenizer = Tokenizer.train(WORDS * 5, vocab_size=540, context_length=16)
    net = saccade.create("clip_small", options={"text.vocab_size": tokenizer.vocab_size, "text.context_length": 16})
    prepare = fresh_preprocessing(net)
    place = tmp_path_factory.mktemp("clip")
    loaded = LoadedModel(net.eval(), "clip", (), prepare, "contrastive", vocabulary=tokenizer.files())
    save_model_dir(place / "model", loaded)
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 255, (70, 90, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{number}.png")
    return place


def test_a_class_is_the_mean_of_its_prompts(folder: Path) -> None:
    predictor = saccade.load(folder / "model")
    templates = ["a small {}", "a large {}"]
    classifier = ZeroShot(predictor, ["three", "seven"], templates)
    images = torch.stack([predictor.prepare(folder / f"{n}.png") for n in range(3)])
    tokenizer, net = tokenizer_of(predictor), predictor.model
    with torch.no_grad():
        vectors = []
        for name in ("three", "seven"):
            texts = F.normalize(net.encode_text(tokenizer([t.format(name) for t in templates])), dim=-1)
            vectors.append(F.normalize(texts.mean(0), dim=0))
        cosines = F.normalize(net.encode_image(images), dim=-1) @ torch.stack(vectors).T
        expected = (net.logit_scale.exp() * cosines).softmax(-1)
    torch.testing.assert_close(classifier.scores(images), expected)
    results = list(classifier.stream([folder / "0.png", folder / "1.png"]))
    assert [result.score for result in results] == pytest.approx(expected[:2].max(-1).values.tolist(), abs=1e-5)


def test_an_exported_graph_has_unit_vectors_of_images_and_of_padded_texts(folder: Path) -> None:
    predictor = saccade.load(folder / "model")
    tokenizer, net = tokenizer_of(predictor), predictor.model
    assert isinstance(net, CLIP)
    graph, images = EmbeddingGraph(tokenizer, net), torch.randn(2, 3, 64, 64)
    assert graph.state() == {"scale": pytest.approx(net.logit_scale.exp().item()), "context_length": 16}
    net.logit_bias = torch.nn.Parameter(torch.tensor(-3.0))
    assert graph.state()["bias"] == -3.0
    (texts,) = graph.parts()
    with torch.no_grad():
        outputs = graph.run(net, images, images, images)
        torch.testing.assert_close(outputs["embedding"], F.normalize(net.encode_image(images), dim=1))
        tokens = tokenizer(["three", "seven", "a small five"])
        vectors = F.normalize(net.encode_text(tokens), dim=1)
        rows = torch.full((2, 2, 8), -1)  # of two texts and of one, shorter than the context
        rows[0], rows[1, 0] = tokens[:2, :8], tokens[2, :8]

        def text(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            assert inputs["tokens"].shape == (3, 16)
            return {"embedding": texts.run(net, {"tokens": torch.from_numpy(inputs["tokens"])})["embedding"].numpy()}

        batch = Batch(images, {"tokens": rows}, ("a", "b"), torch.arange(2))
        collected = graph.collect(outputs, batch, {"text": text})  # type: ignore[dict-item]
    torch.testing.assert_close(collected["text"], vectors)
    assert collected["num_texts"].tolist() == [2, 1]
    with pytest.raises(ConfigError, match="no tower of texts"):
        graph.collect(outputs, batch, {})
    assert [len(trial.inputs["tokens"]) for trial in texts.trials(net)] == [1, 2, 5]


@pytest.mark.parametrize("approximate", [False, True])
def test_the_nearest_images_are_found(folder: Path, tmp_path: Path, approximate: bool) -> None:
    if approximate:
        pytest.importorskip("faiss")
    predictor = saccade.load(folder / "model")
    index = SearchIndex(predictor, str(folder), cache=tmp_path, approximate=approximate)
    assert not index.cached
    assert SearchIndex(predictor, str(folder), cache=tmp_path, approximate=approximate).cached
    images = torch.stack([predictor.prepare(folder / name) for name in index.names])
    with torch.no_grad():
        vectors = F.normalize(predictor.model.encode_image(images), dim=-1)
        text = F.normalize(predictor.model.encode_text(tokenizer_of(predictor)(["three"])), dim=-1)
    for query, hits in ((vectors[1], index.by_image(folder / index.names[1])), (text[0], index.by_text("three"))):
        cosines = vectors @ query
        order = cosines.argsort(descending=True)
        assert [hit.image for hit in hits] == [index.names[i] for i in order]
        assert [hit.score for hit in hits] == pytest.approx(cosines[order].tolist(), abs=1e-5)
    (hit,) = index.by_image(folder / index.names[2], top=1)
    assert hit.image == index.names[2]
    assert np.array_equal(index.picture(hit), Image.open(folder / hit.image))
    with pytest.raises(ConfigError, match="top must be at least 1"):
        index.by_text("three", top=0)
    with pytest.raises(ConfigError, match="not in this index"):
        index.picture(Hit("none.png", 1.0))


def test_a_fresh_vocabulary_is_learned_from_all_captions() -> None:
    captions = [("the cat sat",), ("the cat ran", "a dog ran"), ("a dog sat",)]
    source = type("Source", (), {"__len__": lambda self: 3, "captions": lambda self, index: captions[index]})()
    options = ContrastiveConfig(vocab_size=530, context_length=16)
    _, tokenizer = fresh_clip(None, ModelConfig("clip_small"), options, source)  # type: ignore[arg-type]
    expected = Tokenizer.train([text for texts in captions for text in texts], 530, 16)
    assert tokenizer.files() == expected.files()


def test_training_goes_on_with_a_models_own_vocabulary_or_with_a_given_one(folder: Path, tmp_path: Path) -> None:
    predictor = saccade.load(folder / "model")
    own = tokenizer_of(predictor)
    other = Tokenizer.train(["zebras yonder and wolves unseen watch quiet pandas"] * 5, own.vocab_size, 16)
    assert (other.vocab_size, other.files() == own.files()) == (own.vocab_size, False)
    for name, data in other.files().items():
        (tmp_path / name).write_bytes(data)
    for vocabulary, expected in (("", own), (str(tmp_path), other)):
        changes = {"task": "contrastive", "model.name": "", "model.init": str(folder / "model")}
        config = resolve(overrides={**changes, "contrastive.vocabulary": vocabulary})
        start, tokenizer = starting_model(config, source=None)  # type: ignore[arg-type]
        assert tokenizer.files() == start.vocabulary == expected.files()
        weights = start.model.state_dict()
        assert all(torch.equal(weights[name], value) for name, value in predictor.model.state_dict().items())


@pytest.mark.parametrize("bad_images", ["skip", "stop"])
def test_broken_images_are_skipped_in_training_if_the_config_says_so(
    folder: Path, tmp_path: Path, bad_images: str
) -> None:
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes((folder / f"{number}.png").read_bytes())
    (tmp_path / "captions.csv").write_text("file,caption\n0.png,three\n1.png,seven\n2.png,five\n")
    changes = {"task": "contrastive", "model.name": "", "model.init": str(folder / "model")}
    data = {"data.path": str(tmp_path), "data.val_fraction": 0.34, "data.test_fraction": 0.0}
    config = resolve(overrides={**changes, **data, "data.bad_images": bad_images})
    setup = make_setup(config, torch.device("cpu"))
    assert setup.train.skip_bad == (bad_images == "skip")  # type: ignore[attr-defined]
    assert not setup.val.skip_bad  # type: ignore[union-attr]
    for option in ("mixup", "cutmix"):
        with pytest.raises(ConfigError, match="no text describes a mixed image"):
            make_setup(with_overrides(config, {f"augmentation.{option}": 0.5}), torch.device("cpu"))


def test_a_vocabulary_may_be_as_large_as_the_model() -> None:
    for size, may_be_smaller, fits in ((5, True, True), (4, True, True), (6, True, False), (4, False, False)):
        tokenizer = SimpleNamespace(vocab_size=size, may_be_smaller=may_be_smaller)
        with nullcontext() if fits else pytest.raises(ConfigError, match="the model 5"):
            require_size(tokenizer, 5, "the model")  # type: ignore[arg-type]


def test_names_and_templates_come_with_the_package() -> None:
    assert read_lines("digits")[:2] == ["zero", "one"]
    for name in ("nothing", "a/b"):
        with pytest.raises(ConfigError, match="there is no file"):
            read_lines(name)


def test_the_command(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, image = str(folder / "model"), str(folder / "0.png")
    (tmp_path / "classes.txt").write_text("three\nseven\nfive\n")
    (tmp_path / "prompts.txt").write_text("a small {}\na large {}\n")
    files = ["--labels", str(tmp_path / "classes.txt"), "--templates", str(tmp_path / "prompts.txt")]
    assert main(["zeroshot", model, image, *files, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert {entry["label"] for entry in row["top"]} == {"three", "seven", "five"}
    assert main(["zeroshot", model, str(folder), "--labels", "three, seven", "--template", "a {}"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert main(["zeroshot", model, image, "--labels", "three", "--template", "no place"]) == 2
    assert "no {} for the name" in capsys.readouterr().err
    assert main(["zeroshot", model, image]) == 2


def test_refusals(folder: Path, tmp_path: Path) -> None:
    predictor = saccade.load(folder / "model")
    with pytest.raises(ConfigError, match="each once"):
        ZeroShot(predictor, ["a", "a"])
    other = Tokenizer.train(WORDS, vocab_size=520, context_length=16)
    for name, data in other.files().items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(ConfigError, match="give the model's own"):
        tokenizer_of(predictor, str(tmp_path))
    vit = saccade.create("vit_digits")
    save_model_dir(tmp_path / "vit", LoadedModel(vit, "vit", tuple("0123456789"), fresh_preprocessing(vit)))
    with pytest.raises(ConfigError, match="need a CLIP"):
        ZeroShot(saccade.load(tmp_path / "vit"), ["a"])
