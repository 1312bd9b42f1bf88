"""Hidden words of numbers: what a trained model names, beside the best that anybody can.

python benchmarks/words.py runs/words [--most 2000]
"""

import argparse
from typing import cast

import saccade
from saccade.analysis.word_optimum import word_optimum
from saccade.data.samples import TextSource
from saccade.data.text_batches import MaskedTextDataset
from saccade.inference.evaluation import choose_split, evaluate, prepared_texts

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("run")
parser.add_argument("--most", type=int, default=2000, help="test passages whose optimum is computed")
arguments = parser.parse_args()

predictor = saccade.load(arguments.run)
measured = evaluate(predictor, "numbers", split="test", workers=0)
_, parts, _ = choose_split(predictor, "numbers", "test")
passages = cast(MaskedTextDataset, prepared_texts(predictor, cast(TextSource, parts["test"])))
limit = predictor.source.provenance["data"]["config"]["numbers"]["limit"]
best = word_optimum(passages, limit, most=arguments.most)
print(measured.metrics)
print(f"the grammar's best guess: expected {best.expected:.2%}, reached {best.reached:.2%} on {best.words} words")
