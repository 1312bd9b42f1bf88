"""Masked language modelling of numbers in words: the accuracy of a trained model, beside the Bayes optimum.

python benchmarks/words.py runs/words [--max-texts 2000]
"""

import argparse
from typing import cast

import saccade
from saccade.engine.evaluation import choose_split, evaluate
from saccade.tasks.masked_lm.batches import MaskedTextDataset
from saccade.tasks.masked_lm.bayes_optimum import bayes_optimum

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("run")
parser.add_argument("--max-texts", type=int, default=2000, help="test texts whose optimum is computed")
arguments = parser.parse_args()

predictor = saccade.load(arguments.run)
evaluation = evaluate(predictor, "numbers", split="test", workers=0)
_, parts, _ = choose_split(predictor, "numbers", "test")
dataset = cast(MaskedTextDataset, predictor.room.eval_dataset(parts["test"], predictor.source))
limit = predictor.source.provenance["data"]["config"]["numbers"]["limit"]
optimum = bayes_optimum(dataset, limit, max_texts=arguments.max_texts)
print(evaluation.metrics)
print(f"Bayes optimum: expected {optimum.expected:.2%}, actual {optimum.actual:.2%} on {optimum.tokens} masked tokens")
