"""What all runs of these tests share."""

import pytest

from saccade.nn.precision import ProductsChoice
from saccade.training import loop


@pytest.fixture(autouse=True)
def _the_same_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """How products are computed is measured once in a run; two runs that are compared to the bit must not be told
    differently by a moment in which the machine was busy."""
    choice = ProductsChoice("highest", "float32 products: highest (the same in every test)")
    monkeypatch.setattr(loop, "choose_products", lambda *_, **__: choice)
