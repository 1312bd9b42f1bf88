"""What a recording costs, beside transformers' output_attentions: the table of docs/performance.md.

python benchmarks/recording.py
"""

import statistics
import time
from collections.abc import Callable

import torch
import transformers
from machine import describe

import saccade

MODELS = {"vit_ti16": (192, 3), "vit_b16": (768, 12)}  # width and heads, for transformers
ROUNDS = 15


def ways(name: str) -> dict[str, tuple[str, Callable[[], object]]]:
    """Way -> the way that it is compared with, and one run."""
    net = saccade.create(name).eval()
    images = torch.randn(1, 3, 224, 224)
    width, heads = MODELS[name]
    config = transformers.ViTConfig(
        hidden_size=width, num_attention_heads=heads, intermediate_size=4 * width, attn_implementation="eager"
    )
    other = transformers.ViTModel(config, add_pooling_layer=False).eval()

    def recorded(**options) -> Callable[[], object]:
        def run() -> object:
            with saccade.record(net, **options) as trace:
                net(images)
            return trace

        return run

    return {
        "saccade": ("saccade", lambda: net(images)),
        "record, all layers, tokens": ("saccade", recorded()),
        "record, all layers": ("saccade", recorded(tokens=False)),
        "record, class token of the last layer": ("saccade", recorded(layers=[-1], queries=[0], tokens=False)),
        "transformers (eager)": ("transformers (eager)", lambda: other(images)),
        "transformers, output_attentions": ("transformers (eager)", lambda: other(images, output_attentions=True)),
    }


@torch.no_grad()
def main() -> None:
    torch.set_num_threads(1)
    print(f"{describe()}, one thread, processor time, batch 1, {ROUNDS} rounds\n")
    print("| model | implementation | ms | ratio |\n| --- | --- | --- | --- |")
    for name in MODELS:
        runs = ways(name)
        times: dict[str, list[float]] = {way: [] for way in runs}
        for round_ in range(ROUNDS + 2):
            for way, (_, run) in runs.items():
                start = time.process_time()
                run()
                if round_ >= 2:  # the first two warm up
                    times[way].append(time.process_time() - start)
        for way, (base, _) in runs.items():
            ratio = statistics.median(a / b for a, b in zip(times[way], times[base]))
            print(f"| {name} | {way} | {1000 * statistics.median(times[way]):.1f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
