"""Field names: told once, bounded, found by hash."""

from __future__ import annotations

import numpy as np
import pytest

from ftrl_core import names
from ftrl_core.hashing import name_hash
from ftrl_core.names import FieldNames


def hashes(*given: str) -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
    return np.array([name_hash(name, 3) for name in given], np.uint32)


def test_a_name_is_unheard_until_it_is_told() -> None:
    known = FieldNames(3)
    assert known.has_unheard(hashes("ad", "user"))
    assert known.unheard(["user", "ad", "ad"]) == ["ad", "user"]
    known.add(["ad"])
    assert known.has_unheard(hashes("ad", "user"))
    assert known.unheard(["user", "ad"]) == ["user"]
    known.add(["user", "ad"])
    assert not known.has_unheard(hashes("user", "ad", "ad"))
    assert known.in_order() == ["ad", "user"]
    assert known.get(name_hash("ad", 3)) == "ad"
    assert known.get(1) is None


def test_no_feature_has_no_unheard_name() -> None:
    assert not FieldNames(0).has_unheard(hashes())


def test_many_names_are_all_found() -> None:
    known = FieldNames(3)
    many = [f"field {i}" for i in range(5000)]
    known.add(many)
    assert not known.has_unheard(hashes(*many))
    assert known.has_unheard(hashes("another"))


def test_the_bytes_of_all_names_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "NAMES_BYTES_MAX", 10)
    known = FieldNames(3)
    known.add(["x" * 9, "y" * 9, "z"])
    assert known.in_order() == ["x" * 9, "y" * 9]
    assert known.is_full
    assert not known.has_unheard(hashes("z"))


def test_the_number_of_names_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "NAMES_MAX", 2)
    known = FieldNames(3)
    assert known.unheard(["c", "b", "a"]) == ["a", "b"]
    known.add(["a", "b", "c"])
    assert known.in_order() == ["a", "b"]
