"""The LSTM against its equations."""

from __future__ import annotations

import torch

from fmmtc_bidsapp.models.networks.recurrent import build_lstm


def test_it_is_the_mean_output_of_an_lstm_written_out() -> None:
    network = build_lstm(5, seed=0, hidden=3)
    series = torch.randn(2, 7, 5, generator=torch.Generator().manual_seed(0))
    lstm = network.encoder.get_submodule("lstm")
    w_in, w_state, b_in, b_state = (p.detach() for p in lstm.parameters())
    state, cell, outputs = torch.zeros(2, 3), torch.zeros(2, 3), []
    for t in range(7):
        gates = series[:, t] @ w_in.T + b_in + state @ w_state.T + b_state
        keep_in, forget, new, show = gates.split(3, dim=1)
        cell = forget.sigmoid() * cell + keep_in.sigmoid() * new.tanh()
        state = show.sigmoid() * cell.tanh()
        outputs.append(state)
    torch.testing.assert_close(network.features(series), torch.stack(outputs).mean(dim=0))


def test_windows_of_any_length_are_read() -> None:
    network = build_lstm(5, seed=0)
    for n_volumes in (1, 20, 200):
        assert network(torch.zeros(2, n_volumes, 5)).shape == (2,)


def test_the_order_of_the_volumes_matters() -> None:
    network = build_lstm(5, seed=0)
    series = torch.randn(1, 30, 5, generator=torch.Generator().manual_seed(1))
    assert (network(series) - network(series.flip(1))).abs() > 1e-4
