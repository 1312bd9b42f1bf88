"""Images a second of batch prediction, beside a plain script of torchvision, in one run.

    python -m benchmarks.predict_speed --images 256

Both predict the same JPEGs (500 x 375) with the same ViT-Ti/16 in batches of 16, in turn, in rounds; the median counts.
The plain script decodes and resizes with Pillow and torchvision in the same process, without a loader, as scripts do.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from PIL import Image
from torchvision.transforms import v2

import saccade
from benchmarks.machine import describe
from benchmarks.serving.client import photograph
from saccade.data.preprocessing import Preprocessing
from saccade.engine.predictor import Predictor
from saccade.inference.batch_job import BatchJob, Shard

BATCH = 16


@torch.inference_mode()
def plain_script(model: torch.nn.Module, p: Preprocessing, paths: list[str]) -> list[int]:
    """The class of each image, as a script without this package predicts it."""
    transform = v2.Compose([
        v2.Resize(p.resize_size[0], v2.InterpolationMode.BICUBIC), v2.CenterCrop(p.size), v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True), v2.Normalize(p.mean, p.std),
    ])  # fmt: skip
    classes = []
    for start in range(0, len(paths), BATCH):
        batch = [transform(Image.open(path).convert("RGB")) for path in paths[start : start + BATCH]]
        classes += model(torch.stack(batch)).argmax(1).tolist()
    return classes


def job(predictor: Predictor, paths: list[str], out: Path) -> None:
    """`saccade predict --out`: the same images into a file, in parts that survive a kill."""
    BatchJob(out, paths, {}).run(predictor.stream, batch_size=BATCH, shard=Shard())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        net = saccade.create("vit_ti16", num_classes=10)
        preprocessing = Preprocessing((224, 224))
        saccade.save(net, Path(folder) / "model", labels=list("abcdefghij"), preprocessing=preprocessing)
        predictor = saccade.load(Path(folder) / "model")
        paths = [f"{folder}/{number}.jpg" for number in range(arguments.images)]
        for number, path in enumerate(paths):
            Path(path).write_bytes(photograph(number))
        speeds: dict[str, list[float]] = {"plain torchvision": [], "Predictor.stream": [], "predict --out": []}
        expected = plain_script(predictor.model, preprocessing, paths)
        labels = [result.label for result in predictor.stream(paths, batch_size=BATCH)]
        same = sum(label == "abcdefghij"[number] for label, number in zip(labels, expected))
        for number in range(arguments.rounds):
            ways = {
                "plain torchvision": lambda: plain_script(predictor.model, preprocessing, paths),
                "Predictor.stream": lambda: list(predictor.stream(paths, batch_size=BATCH)),
                "predict --out": lambda n=number: job(predictor, paths, Path(folder) / f"{n}.parquet"),
            }
            for name, run in ways.items():
                start = time.perf_counter()
                run()
                speeds[name].append(arguments.images / (time.perf_counter() - start))
    base = statistics.median(speeds["plain torchvision"])
    print(f"{describe()}, {arguments.threads} threads; {same} of {arguments.images} classes are the same\n")
    print("| way | images/s | ratio |\n| --- | --- | --- |")
    for name, values in speeds.items():
        print(f"| {name} | {statistics.median(values):.1f} | {statistics.median(values) / base:.2f} |")


if __name__ == "__main__":
    main()
