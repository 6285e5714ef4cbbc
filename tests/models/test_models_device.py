"""Devices and precision by name."""

from __future__ import annotations

import pytest
import torch

from fmmtc_bidsapp.errors import UsageError
from fmmtc_bidsapp.models.device import autocast, resolve_device, resolve_precision

CPU = torch.device("cpu")


@pytest.mark.parametrize(("n_cuda", "expected"), [(0, "cpu"), (1, "cuda")])
def test_auto_takes_cuda_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, n_cuda: int, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: n_cuda)
    assert resolve_device("auto") == torch.device(expected)
    assert resolve_device("cpu") == CPU


@pytest.mark.parametrize(("name", "n_cuda"), [("cuda", 0), ("cuda:0", 0), ("cuda:1", 1)])
def test_cuda_that_is_not_there_is_wrong_use(
    monkeypatch: pytest.MonkeyPatch, name: str, n_cuda: int
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: n_cuda)
    with pytest.raises(UsageError, match="--device cpu") as caught:
        resolve_device(name)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "mps", ""])
def test_another_device_name_is_wrong_use(name: str) -> None:
    with pytest.raises(UsageError, match="allowed are"):
        resolve_device(name)


@pytest.mark.parametrize(
    ("amx", "expected"), [(True, torch.bfloat16), (False, torch.float32), (None, torch.float32)]
)
def test_auto_precision_asks_the_processor(
    monkeypatch: pytest.MonkeyPatch, amx: bool | None, expected: torch.dtype
) -> None:
    known = {} if amx is None else {"amx_bf16": amx}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known)
    assert resolve_precision("auto", CPU) == expected


@pytest.mark.parametrize(
    ("capability", "expected"), [((7, 5), torch.float32), ((9, 0), torch.bfloat16)]
)
def test_auto_precision_asks_the_gpu(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert resolve_precision("auto", torch.device("cuda")) == expected


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_autocast_computes_in_the_named_precision(name: str) -> None:
    with autocast(CPU, resolve_precision(name, CPU)):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == getattr(torch, name)
