"""The start-up self-test: passes here, twice, and does not pass where one bit differs."""

from __future__ import annotations

import numpy as np
import pytest

from ftrl_core import warmup
from ftrl_core.entry import RequestPart, encode_examples, request_table
from ftrl_core.errors import ClickfoldError
from ftrl_core.model import Model
from tests.oracle.exact import ExactFold


def test_it_passes_again_and_again() -> None:
    warmup.warm_up()
    warmup.warm_up()


@pytest.mark.parametrize("place", [0, 1])
def test_the_known_digest_is_the_reference_folds(place: int) -> None:
    """What every machine is compared with was computed a second time in plain Python."""
    test = warmup.SELF_TESTS[place]
    reference = ExactFold(Model(test.config).config.to_dict())
    for entry in range(warmup.ENTRIES):
        rows = warmup.ROWS
        parts = [RequestPart(rows // 2, 0, entry + 1, 7), RequestPart(rows - rows // 2)]
        reference.apply(encode_examples(warmup._stream(entry), request_table(parts)))
    assert reference.digest() == test.digest


def test_another_machines_bits_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = warmup._stream

    def one_bit_off(entry: int) -> object:
        batch = stream(entry)
        batch.values[7] = np.nextafter(batch.values[7], np.float32(2.0))
        return batch

    monkeypatch.setattr(warmup, "_stream", one_bit_off)
    with pytest.raises(warmup.ArithmeticDiffers, match="self-test") as raised:
        warmup.warm_up()
    assert isinstance(raised.value, ClickfoldError)


def test_a_reload_that_differs_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    reload = warmup._reload

    def forgets(model: Model) -> Model:
        copy = reload(model)
        copy.duplicates += 1
        return copy

    monkeypatch.setattr(warmup, "_reload", forgets)
    with pytest.raises(warmup.ArithmeticDiffers, match="checkpoint"):
        warmup.warm_up()


def test_its_stream_meets_every_path() -> None:
    model = warmup._fold(warmup.SELF_TESTS[0].config)
    assert model.duplicates == 0
    assert model.examples == warmup.ROWS * warmup.ENTRIES
    batch = warmup._stream(0)
    assert {0, 1} == set(batch.labels.tolist())
    assert len(set(batch.weights.tolist())) == 2
    assert (batch.values != 1).any()
    assert model.deduplication.count > model.deduplication.window
