"""Every module that holds weights is called, in every kind of model of the catalogue: hooks, LoRA, quantisation,
pruning and counters of other libraries act on that call, and a weight that is read around it escapes them in silence.
"""

import pytest
import torch

import saccade
from saccade.models.catalogue import ZOO
from tests.models.kinds import smallest_models

OPTIONS: dict[str, list[dict]] = {
    "vit_digits": [{"pooling": "attention"}, {"pooling": "mean", "pool_norm": True}, {"positions": "fourier"}],
    "bert_small": [{"next_sentence": True}],
    "seq2seq_small": [{"tied": False}, {"output_bias": True}],
    "detr_small": [{"masks": True}, {"position_use": "none"}, {"positions": "learned"}],
}
KINDS = smallest_models()
assert set(OPTIONS) <= set(KINDS)
CASES = [(name, options) for name in KINDS for options in [{}, *OPTIONS.get(name, [])]]
# The official DPT has a residual unit in its deepest fusion that adds nothing; published files hold it.
UNUSED = {"dpt": ("fuse.3.added.",), "depth_anything": ("fuse.3.added.",)}


@pytest.mark.parametrize(
    ("name", "options"), CASES, ids=lambda value: value if isinstance(value, str) else "-".join(value)
)
def test_every_leaf_with_parameters_is_called(name: str, options: dict) -> None:
    with torch.device("meta"):
        model = saccade.create(name, options=options).train()
    called: set[str] = set()
    for path, module in model.named_modules():
        module.register_forward_hook(lambda *_, path=path: called.add(path))
    # The second head of a DPT runs on request.
    arguments = {"auxiliary": True} if getattr(model, "aux_head", None) is not None else {}
    model(*(tensor.to("meta") for tensor in model.example_inputs(2)), **arguments)
    leaves = {
        path
        for path, module in model.named_modules()
        if not any(True for _ in module.children()) and any(True for _ in module.parameters(recurse=False))
    }
    assert leaves
    unused = UNUSED.get(ZOO[name], ())
    assert {path for path in leaves - called if not path.startswith(unused)} == set()
