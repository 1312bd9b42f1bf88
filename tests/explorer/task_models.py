"""A small model of every task, opened in an explorer."""

from pathlib import Path
from typing import Any

import torch

import saccade
from saccade.checkpoints.directory import LoadedModel
from saccade.data.tokenizer import Tokenizer
from saccade.engine.images import fresh_preprocessing
from saccade.engine.predictor import Predictor
from saccade.explorer.recording import OpenImage, OpenText
from saccade.explorer.session import OpenModel, Session
from saccade.tasks.contrastive.reading import TextReader
from saccade.tasks.loading import load, predictor_of
from tests.explorer.conftest import photograph

GOLDEN = Path(__file__).parents[1] / "golden" / "runs"
IMAGE = OpenImage("scene.png", photograph(64, 64, seed=3))
TEXT = OpenText("two hundred and seven")
OPTIONS = {"detect_detr": {"threshold": 0.01}}
IMAGE_RUNS = ("detect_detr", "depth", "segment", "pretrain_pixels", "pretrain_colours", "translate_strips")
TEXT_RUNS = ("translate_texts", "words")
EVERY_RUN = (*IMAGE_RUNS, *TEXT_RUNS, "clip")


def opened(run: str) -> Predictor:
    return clip() if run == "clip" else load(GOLDEN / run / "model", options=OPTIONS.get(run))


def clip() -> Predictor:
    """A CLIP of two layers each, with a tokenizer of 540 tokens."""
    torch.manual_seed(0)
    tokenizer = Tokenizer.train(["a small three", "a large seven"] * 5, vocab_size=540, context_length=16)
    options: dict[str, Any] = {
        "text.vocab_size": tokenizer.vocab_size, "text.context_length": 16, "text.depth": 2, "backbone_config.depth": 2,
        "backbone_config.image_size": (64, 64),
    }  # fmt: skip
    net = saccade.create("clip_ti16", options=options).eval()
    loaded = LoadedModel(net, "clip", (), fresh_preprocessing(net), "contrastive", vocabulary=tokenizer.files())
    return predictor_of(loaded)


def session_of(run: str) -> Session:
    """The model on an image, on a text, or, of a CLIP, on an image with two labels."""
    predictor = opened(run)
    if run == "clip":
        inputs: list[Any] = [IMAGE, OpenText("three"), OpenText("seven")]
        return Session([OpenModel("clip", predictor, TextReader(predictor))], inputs, 2**26)
    return Session([OpenModel(run, predictor)], [TEXT if run in TEXT_RUNS else IMAGE], 2**26)
