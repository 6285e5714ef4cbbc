"""The banded product against torch's convolution."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from fmmtc_bidsapp.models.encoders.brainlm.convolution import convolve_tokens


@pytest.mark.parametrize("n_tokens", [1, 30, 64, 65, 200])
@pytest.mark.parametrize("n_taps", [1, 5, 65])
@pytest.mark.parametrize("only_first", [True, False])
def test_it_equals_a_zero_padded_depthwise_convolution(
    n_tokens: int, n_taps: int, only_first: bool
) -> None:
    generator = torch.Generator().manual_seed(n_tokens)
    value = torch.randn(2, 3, n_tokens, 4, generator=generator)
    taps = torch.randn(3, n_taps, generator=generator)
    n_leading = 1 if only_first else n_tokens
    expected = functional.conv2d(value, taps[:, None, :, None], padding=(n_taps // 2, 0), groups=3)[
        :, :, :n_leading
    ]
    torch.testing.assert_close(convolve_tokens(value, taps, n_leading), expected)
