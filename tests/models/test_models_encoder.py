"""The encoder by its flag, and the digest that tells its weights apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from fmmtc_bidsapp.errors import MissingResourceError
from fmmtc_bidsapp.models.encoders.registry import ENCODERS, build_encoder
from fmmtc_bidsapp.options import ModelOptions


def test_every_choice_of_the_flag_is_a_row_of_the_table() -> None:
    choices = next(
        each.metadata["choices"]
        for each in ModelOptions.__dataclass_fields__.values()
        if each.name == "encoder"
    )
    assert set(choices) == {*ENCODERS.own, "none"}


RANDOM = ModelOptions(encoder="random")


def test_the_digest_follows_the_weights() -> None:
    first, again, other = (build_encoder(RANDOM, None, seed).digest for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_absent_weights_are_an_error_that_says_where_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(MissingResourceError, match="vandijklab/brainlm") as error:
        build_encoder(ModelOptions(), tmp_path / "none", 0)
    assert error.value.exit_code == 69


def test_published_weights_are_read_from_their_folder(shared: Path) -> None:
    encoder = build_encoder(ModelOptions(), shared / "reference/brainlm-tiny", 0)
    assert encoder.network.config.hidden_size == 64
    assert "width 64, 2 layers" in encoder.details()
