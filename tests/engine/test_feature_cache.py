"""A damaged file in the cache of features costs their computation, not the command."""

import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from saccade.data.image_folder import open_data
from saccade.engine.features import extract
from saccade.tasks.loading import load
from tests.hostile.readers import MODEL
from tests.photos import make_photos


def test_damaged_features_are_computed_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "model").mkdir()
    for name, content in MODEL.items():
        (tmp_path / "model" / name).write_bytes(content)
    predictor = load(tmp_path / "model")
    source = open_data(str(make_photos(tmp_path / "photos", count=8))).train
    caplog.set_level(logging.WARNING, "saccade")

    def features() -> torch.Tensor:
        return extract(predictor, source, "data", cache=tmp_path / "cache", workers=0).values

    expected = features()
    (file,) = (tmp_path / "cache").glob("*.safetensors")
    whole = file.read_bytes()
    assert not caplog.records
    save_file({"features": torch.zeros(3, 12), "labels": torch.zeros(3)}, tmp_path / "other")
    for content in (b"", whole[:-5], (tmp_path / "other").read_bytes()):
        file.write_bytes(content)
        caplog.clear()
        torch.testing.assert_close(features(), expected, atol=0, rtol=0)
        assert "are computed again" in caplog.text
        assert file.read_bytes() == whole
