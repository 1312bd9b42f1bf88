"""The size of the container of the `Dockerfile`, added up from the packages of an installation.

    python -m benchmarks.image_size

What `saccade[serve]` needs, with what that needs; of PyTorch without the libraries of CUDA, which its builds for the
CPU do not have. The image that it is built on is not counted: `docker image inspect python:3.12-slim` prints its size.
"""

import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

from benchmarks.machine import describe

CUDA = re.compile(r"^(nvidia-|cuda-|triton$)")  # packages
CUDA_LIBRARIES = re.compile(r"/lib(torch_cuda|c10_cuda|torch_nvshmem|caffe2_nvrtc|cu)[^/]*\.so")


def needed(requirement: str) -> set[str]:
    """The names of a package and of all that it needs."""
    names: set[str] = set()
    left = [Requirement(requirement)]
    while left:
        one = left.pop()
        if one.name in names or CUDA.match(one.name):
            continue
        try:
            requires = distribution(one.name).requires or []
        except PackageNotFoundError:
            continue
        names.add(one.name)
        for text in requires:
            inner = Requirement(text)
            if inner.marker is None or any(inner.marker.evaluate({"extra": extra}) for extra in (*one.extras, "")):
                left.append(inner)
    return names


def megabytes(name: str) -> float:
    """The files of a package."""
    paths = [Path(str(file.locate())) for file in distribution(name).files or []]
    return sum(p.stat().st_size for p in paths if p.is_file() and not CUDA_LIBRARIES.search(str(p))) / 1e6


def main() -> None:
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text()
    required = re.search(r"^dependencies = \[(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    served = re.search(r"^serve = (\[.*\])$", text, re.MULTILINE)
    assert required is not None
    assert served is not None
    names: set[str] = set()
    for requirement in re.findall(r'"([^"]+)"', required[1] + served[1]):
        names |= needed(requirement)
    sizes = sorted(((megabytes(name), name) for name in names), reverse=True)
    for size, name in sizes[:8]:
        print(f"{size:7.0f} MB  {name}")
    print(f"{sum(size for size, _ in sizes):7.0f} MB  {len(sizes)} packages; {describe()}")


if __name__ == "__main__":
    main()
