"""Mistakes that the tests once did not notice."""

from benchmarks.mutation.changes import ROOT, Change, Place

# File, text, its replacement, tests
PLANTED = (
    ("saccade/analysis/calibration.py", "count * abs(c - a) for c, a, count in bins) / sum(count for *_,",
     "abs(c - a) for c, a, count in bins) / sum(1 for *_,", "tests/analysis/test_reliability.py"),
    ("saccade/tasks/detection/records.py", "clip(0, height)", "clip(0, width)",
     "tests/tasks/detection/test_sources.py"),
    ("saccade/tasks/detection/batches.py", "(width, height)[k % 2]", "width", "tests/tasks/detection/test_sources.py"),
    ("saccade/data/pictures.py", "values.astype(np.float64) / 257", "values.astype(np.float64) / 256",
     "tests/data/test_images.py"),
    ("saccade/data/images.py", "to(torch.float64) / 257", "to(torch.float64) / 256", "tests/engine/test_predictor.py"),
    ("saccade/training/step.py", "mix_seed(config.seed, step,", "mix_seed(config.seed, 0,",
     "tests/training/test_dropout.py"),
    ("saccade/tasks/classification/metrics.py", "nll=F.nll_loss(log_probabilities, targets).item()",
     "nll=F.cross_entropy(logits.double(), targets, label_smoothing=0.1).item()",
     "tests/tasks/classification/test_classification.py"),
    ("saccade/training/loop.py", "is_best = selection > (", "is_best = selection >= (", "tests/training/test_loop.py"),
)  # fmt: skip


def planted() -> list[Change]:
    changes = []
    for number, (file, old, new, _) in enumerate(PLANTED):
        source = (ROOT / file).read_text(encoding="utf-8")
        if source.count(old) != 1:
            raise SystemExit(f"{file} has {old!r} {source.count(old)} times")
        line = source[: source.index(old)].count("\n") + 1
        place = Place(line, line, "planted")
        changes.append(Change(file, number, place, f"{old} -> {new}", source.replace(old, new)))
    return changes
