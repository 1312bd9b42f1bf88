"""CIFAR-10 from scratch: a plain ViT, a ViT behind convolutions, a ResNet-18 and a ConvMixer under the same budget.

    python benchmarks/cifar10.py cifar10.zip                                    the sizes of the papers: for a GPU
    python benchmarks/cifar10.py cifar10.zip --small                            small ones, two epochs: for two cores
    saccade train cifar10.zip --config benchmarks/cifar10/vit.yaml --seed 0     one row of the first table

The test images are looked at once, after the last epoch. Prints the tables of docs/results.md.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

from machine import describe

from saccade.models.cost import measure_cost
from saccade.models.zoo import create
from saccade.training.config import RunConfig, resolve
from saccade.training.loop import train
from saccade.training.run_directory import RunDirectory

FOLDER = Path(__file__).parent / "cifar10"
MODELS = ("vit", "conv_vit", "resnet18", "convmixer")
NARROW = {"block.embed_dim": 96, "block.num_heads": 3, "block.mlp_dim": 192, "depth": 6}
SMALL = {  # name -> learning rate, options of the model
    "vit": (2e-3, {**NARROW, "pooling": "mean"}),
    "conv_vit": (2e-3, {**NARROW, "channels": [32, 64], "strides": [2, 2]}),
    "resnet18": (4e-3, {"width": 16}),
    "convmixer": (1e-2, {"width": 96, "depth": 4}),
}


def config_of(name: str, seed: int, options: argparse.Namespace) -> RunConfig:
    overrides = {"data.path": options.data, "seed": seed, "device": options.device, "preflight": False}
    if options.epochs:
        overrides["schedule.epochs"] = options.epochs
    if not options.small:
        return resolve(file=FOLDER / f"{name}.yaml", overrides=overrides)
    lr, changes = SMALL[name]
    model = resolve(file=FOLDER / f"{name}.yaml").model.name
    overrides |= {"model.name": model, "model.options": changes, "optimizer.lr": lr}
    return resolve(file=FOLDER / "small.yaml", overrides=overrides)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="cifar10.zip, read in place: cifar10/{train,test}/CLASS/*.jpg")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, help="instead of the recipe's")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    print(f"{describe()}\n\n| model | parameters | GMAC | accuracy, each seed | mean | training |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in options.models:
        accuracies, seconds = [], []
        for seed in options.seeds:
            config = config_of(name, seed, options)
            with tempfile.TemporaryDirectory() as folder:
                result = train(config, RunDirectory.create(config, Path(folder) / "run"))
            assert result.metrics is not None
            accuracies.append(result.metrics.goal)
            seconds.append(result.seconds)
        cost = measure_cost(create(config.model.name, num_classes=10, options=config.model.options))
        spread = statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0
        each = ", ".join(f"{a:.2%}" for a in accuracies)
        print(
            f"| {name} | {cost.params:,} | {cost.gmacs:.3f} | {each} | **{statistics.mean(accuracies):.2%}** "
            f"± {spread:.2%} | {statistics.mean(seconds):.0f} s |",
            flush=True,
        )


if __name__ == "__main__":
    main()
