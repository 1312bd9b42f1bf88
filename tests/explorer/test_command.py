"""`saccade look` on the command line, and what it needs."""

import io
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import saccade
from saccade.checkpoints.directory import LoadedModel, save_model_dir
from saccade.cli.look import is_images, open_inputs
from saccade.cli.main import main
from saccade.data.preprocessing import Preprocessing
from saccade.errors import ConfigError
from saccade.explorer.recording import OpenImage
from tests.explorer.conftest import photograph, small_model
from tests.explorer.task_models import GOLDEN


@pytest.fixture
def model(tmp_path: Path) -> Path:
    save_model_dir(tmp_path / "model", small_model("model").predictor.source)
    return tmp_path / "model"


def test_arguments_are_models_or_images(model: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "photos" / name).write_bytes(photograph())
    models, images = open_inputs(
        [str(model), str(tmp_path / "photos"), str(tmp_path / "photos" / "a.png")], None, "cpu"
    )
    assert [one.name for one in models] == [str(model)]
    assert [image.name for image in images] == ["a.png", "b.png"]
    assert not is_images(str(model))
    with pytest.raises(ConfigError, match="no model among"):
        open_inputs([str(tmp_path / "photos")], None, "cpu")


def test_without_arguments_there_are_digits_and_images_of_four(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = tuple("0123456789")
    preprocessing = Preprocessing(size=(8, 8), crop_pct=1.0, channels=1, mean=(0.5,), std=(0.5,))
    source = LoadedModel(saccade.create("conv_vit_digits").eval(), "conv_vit", labels, preprocessing)
    save_model_dir(tmp_path / "runs" / "digits" / "model", source)
    (tmp_path / "runs" / "digits" / "config.yaml").write_text("")
    monkeypatch.chdir(tmp_path)
    models, images = open_inputs([], None, "cpu")
    assert [one.name for one in models] == ["digits, four at once", "digits"]
    layouts = [one.predictor.model.token_layout(None) for one in models]
    assert [None if layout is None else layout.grid for layout in layouts] == [(8, 8), (4, 4)]
    opened = [image for image in images if isinstance(image, OpenImage)]
    assert [image.model for image in opened] == ["0"] * 3 + ["1"] * 6
    files = [image.source for image in opened if isinstance(image.source, bytes)]
    board, *digits = (np.asarray(Image.open(io.BytesIO(files[number]))) for number in (0, 3, 4, 5, 6))
    assert np.array_equal(np.block([[digits[0], digits[1]], [digits[2], digits[3]]]), board)
    models, images = open_inputs([], 24, "cpu")
    assert len(models) == 1
    assert len(images) == 6


def test_a_page_is_exported(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.png").write_bytes(photograph())
    page = tmp_path / "page.html"
    assert main(["look", str(model), str(tmp_path / "a.png"), "--export", str(page)]) == 0
    assert "the attention of 1 run inside" in capsys.readouterr().out
    assert "default-src 'none'" in page.read_text()
    assert main(["look", str(model), "--export", str(page)]) == 2
    assert main(["look", str(model), "--export", str(tmp_path / "none" / "page.html")]) == 2


def test_a_port_that_is_taken_is_named(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["look", str(model), "--port", str(port)]) == 2
    assert f"port {port}" in capsys.readouterr().err


def test_without_the_extra_the_command_names_it_and_the_rest_works(model: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(photograph())
    code = (
        "import sys; sys.modules['uvicorn'] = sys.modules['starlette'] = None\n"
        "from saccade.cli.main import main\n"
        f"model, image, page = {[str(model), str(tmp_path / 'a.png'), str(tmp_path / 'page.html')]!r}\n"
        "assert main(['look', model, image, '--export', page]) == 0\n"
        "sys.exit(main(['look', model]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stderr
    assert 'pip install "saccade[look]"' in done.stderr


def test_texts_are_opened_for_models_that_read_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tokenizers")
    words, page = str(GOLDEN / "words" / "model"), str(tmp_path / "page.html")
    assert main(["look", words, "--text", "two hundred and seven", "--text", "forty-two", "--export", page]) == 0
    assert "the attention of 2 runs inside" in capsys.readouterr().out
    assert main(["look", words, "--export", page]) == 2
    assert "--text" in capsys.readouterr().err
    (tmp_path / "a.png").write_bytes(photograph())
    assert main(["look", words, str(tmp_path / "a.png"), "--export", page]) == 2
    assert "reads texts, not images" in capsys.readouterr().err
    assert main(["look", str(GOLDEN / "depth" / "model"), "--text", "a", "--export", page]) == 2
    assert "reads images, not texts" in capsys.readouterr().err
