import errno
import os
import signal
import subprocess
import sys
import time

import pytest

from saccade.checkpoints.atomic import (
    check_manifest,
    new_directory,
    remove_leftovers,
    sha256_of,
    write_atomic,
    write_manifest,
)
from saccade.errors import CheckpointError


def test_writes_bytes_and_functions_and_returns_the_digest(tmp_path):
    target = tmp_path / "a.bin"
    assert write_atomic(target, b"one") == sha256_of(target)
    write_atomic(target, lambda path: path.write_bytes(b"two"))
    assert target.read_bytes() == b"two"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_a_write_that_fails_keeps_the_old_file_and_leaves_nothing(tmp_path):
    target = tmp_path / "a.bin"
    write_atomic(target, b"old")

    def full_disk(path):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_atomic(target, full_disk)
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_sigkill_while_writing_never_shows_a_half_file(tmp_path):
    target = tmp_path / "a.bin"
    script = (
        "import sys, itertools\nfrom saccade.checkpoints.atomic import write_atomic\n"
        "for i in itertools.count(): write_atomic(sys.argv[1], bytes([i % 256]) * 200_000)\n"
    )
    for wait in (0.0, 0.013, 0.029):
        process = subprocess.Popen([sys.executable, "-c", script, str(target)])
        deadline = time.monotonic() + 30
        while not target.exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        process.wait()
        content = target.read_bytes()
        assert len(content) == 200_000
        assert len(set(content)) == 1
    remove_leftovers(tmp_path)
    assert os.listdir(tmp_path) == ["a.bin"]


def test_a_directory_appears_whole_and_replaces_the_old_one(tmp_path):
    target = tmp_path / "model"
    with new_directory(target) as folder:
        (folder / "old").write_text("1")
        assert not target.exists()
    with new_directory(target) as folder:
        (folder / "new").write_text("2")
        assert os.listdir(target) == ["old"]
    assert os.listdir(target) == ["new"]
    assert os.listdir(tmp_path) == ["model"]


def test_an_error_inside_keeps_the_old_directory(tmp_path):
    target = tmp_path / "model"
    with new_directory(target) as folder:
        (folder / "old").write_text("1")

    def write_half():
        with new_directory(target) as folder:
            (folder / "new").write_text("2")
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        write_half()
    assert os.listdir(target) == ["old"]
    assert os.listdir(tmp_path) == ["model"]


def test_the_manifest_notices_damage_loss_and_escape(tmp_path):
    folder = tmp_path / "c"
    (folder / "sub").mkdir(parents=True)
    (folder / "a").write_bytes(b"123")
    (folder / "sub" / "b").write_bytes(b"456")
    with pytest.raises(CheckpointError, match=r"no manifest\.json"):
        check_manifest(folder)
    assert set(write_manifest(folder)) == {"a", "sub/b"}
    check_manifest(folder)
    (folder / "sub" / "b").write_bytes(b"457")
    with pytest.raises(CheckpointError, match=r"b is damaged"):
        check_manifest(folder)
    (folder / "sub" / "b").unlink()
    with pytest.raises(CheckpointError, match=r"sub/b is missing"):
        check_manifest(folder)
    (folder / "manifest.json").write_text('{"../x": "0"}')
    with pytest.raises(CheckpointError, match="outside of its folder"):
        check_manifest(folder)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(CheckpointError, match="is not readable JSON"):
        check_manifest(folder)


def test_leftovers_are_removed_by_name(tmp_path):
    (tmp_path / ".a.bin.0123.tmp").write_text("")
    (tmp_path / ".model.0123.tmp").mkdir()
    (tmp_path / "kept.tmp").write_text("")
    assert remove_leftovers(tmp_path) == [".a.bin.0123.tmp", ".model.0123.tmp"]
    assert os.listdir(tmp_path) == ["kept.tmp"]
