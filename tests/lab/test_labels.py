"""Names of numbers as plots and tables show them."""

import pytest

from saccade.lab.labels import label


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("accuracy_at_24x24", "accuracy at 24 x 24 pixels"),
        ("error_10_shot_on_flowers", "10-shot error on flowers"),
        ("accuracy_on_flowers", "accuracy on flowers"),
        ("corrupted_error_gaussian_noise", "error under gaussian noise"),
        ("train_accuracy", "accuracy, training split"),
        ("at_32_macs", "multiply-adds of an image, at 32"),
        ("initial_attention_distance", "attention distance (pixels), mean over heads, initial"),
        ("schedule.steps", "training steps"),
        ("model.options", "model.options"),
    ],
)
def test_names_for_people(name: str, text: str) -> None:
    assert label(name) == text
