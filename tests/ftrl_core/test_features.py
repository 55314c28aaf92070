"""The rules of an example, one by one, on the slow path; hashes against mmh3 and xxhash."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import mmh3
import numpy as np
import pytest
import xxhash

from ftrl_core.batch import NO_LABEL, ExampleBatch
from ftrl_core.errors import BadExample, TooLarge
from ftrl_core.features import ObjectPairs, Place, Reader, examples_to_batch
from ftrl_core.limits import Limits

SEED = 77
Feature = tuple[int, int, float]


def number(name: str, value: float) -> Feature:
    """What a number (or true, as 1) must become."""
    name_hash = mmh3.hash(name.encode(), SEED, signed=False)
    return name_hash, name_hash, float(np.float32(value))


def category(name: str, value: str, count: float = 1.0) -> Feature:
    """What a string must become."""
    name_hash = mmh3.hash(name.encode(), SEED, signed=False)
    return name_hash, mmh3.hash(value.encode(), name_hash, signed=False), count


def row_of(batch: ExampleBatch, row: int = 0) -> list[Feature]:
    """The features of one row as tuples."""
    one = batch.slice(row, row + 1)
    arrays = (one.name_hashes, one.feature_hashes, one.values)
    return list(zip(*(array.tolist() for array in arrays), strict=True))


def features_of(features: object) -> list[Feature]:
    return row_of(examples_to_batch([{"label": 1, "features": features}], hash_seed=SEED))


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ({}, []),
        ({"a": "b"}, [category("a", "b")]),
        ({"a": ""}, [category("a", "")]),
        ({"": "b"}, [category("", "b")]),
        ({"é": "日本"}, [category("é", "日本")]),
        ({"a": "\x00\n😀"}, [category("a", "\x00\n😀")]),
        ({"a": 3.5}, [number("a", 3.5)]),
        ({"a": -7}, [number("a", -7)]),
        ({"a": 0}, [number("a", 0)]),
        ({"a": 0.1}, [number("a", 0.1)]),
        ({"a": 1e7}, [number("a", 1e7)]),
        ({"a": -1e7}, [number("a", -1e7)]),
        ({"a": 1e-30}, [number("a", 1e-30)]),
        ({"a": 9e-31}, [number("a", 0)]),
        ({"a": 5e-324}, [number("a", 0)]),
        ({"a": True}, [number("a", 1)]),
        ({"a": False}, []),
        ({"a": None}, []),
        ({"a": np.bool_(True)}, [number("a", 1)]),
        ({"a": np.bool_(False)}, []),
        ({"a": np.float32(2.5)}, [number("a", 2.5)]),
        ({"a": np.int64(3)}, [number("a", 3)]),
        ({"a": []}, []),
        ({"a": [None, False]}, []),
        ({"a": ["x"]}, [category("a", "x")]),
        ({"a": ("x", "y")}, sorted([category("a", "x"), category("a", "y")])),
        ({"a": ["x", 2, True]}, sorted([category("a", "x"), number("a", 3)])),
        ({"a": ["x", "x"]}, [category("a", "x", 2.0)]),
        ({"a": [1.5, -1.5]}, [number("a", 0)]),
        ({"a": "x", "b": "x"}, sorted([category("a", "x"), category("b", "x")])),
        (ObjectPairs([("a", "x"), ("a", "y")]), sorted([category("a", "x"), category("a", "y")])),
        (ObjectPairs([("a", 1), ("a", 2)]), [number("a", 3)]),
        ({"n" * 256: "v" * 1024}, [category("n" * 256, "v" * 1024)]),
        ({"é" * 128: "é" * 512}, [category("é" * 128, "é" * 512)]),
    ],
)
def test_what_a_feature_becomes(features: object, expected: list[Feature]) -> None:
    assert features_of(features) == expected


def test_zero_has_no_sign() -> None:
    for value in (-0.0, -1e-40, [1.0, -1.0], np.float64(-0.0)):
        ((_, _, got),) = features_of({"a": value})
        assert math.copysign(1.0, got) == 1.0


@pytest.mark.parametrize(
    ("features", "pointer"),
    [
        (None, ""),
        ([], ""),
        ("x", ""),
        (7, ""),
        ({1: "x"}, ""),
        ({"a": {}}, "/a"),
        ({"a": {"b": 1}}, "/a"),
        ({"a": ObjectPairs([])}, "/a"),
        ({"a": [[]]}, "/a/0"),
        ({"a": ["x", {"b": 1}]}, "/a/1"),
        ({"a": ["x", ["y"]]}, "/a/1"),
        ({"a": b"x"}, "/a"),
        ({"a": object()}, "/a"),
        ({"a": math.nan}, "/a"),
        ({"a": math.inf}, "/a"),
        ({"a": [0, -math.inf]}, "/a/1"),
        ({"a": 10000000.1}, "/a"),
        ({"a": -1.1e7}, "/a"),
        ({"a": 2**64}, "/a"),
        ({"a": 10**400}, "/a"),
        ({"a": 1j}, "/a"),
        ({"a": "\ud800"}, "/a"),
        ({"a": "x" * 1025}, "/a"),
        ({"a": "é" * 513}, "/a"),
        ({"a": ["ok", "x" * 1025]}, "/a/1"),
        ({"\ud800": 1}, ""),
        ({"n" * 257: 1}, ""),
        ({"é" * 129: 1}, "/" + "é" * 129),
        ({"a/b~c": {}}, "/a~1b~0c"),
    ],
)
def test_a_bad_feature_is_refused_with_its_place(features: object, pointer: str) -> None:
    good = {"label": 0, "features": {}}
    with pytest.raises(BadExample) as caught:
        examples_to_batch([good, {"label": 1, "features": features}])
    assert (caught.value.row, caught.value.pointer) == (1, "/examples/1/features" + pointer)


def each(key: str, *values: object) -> list[tuple[str, object]]:
    return [(key, value) for value in values]


BAD_FIELDS = [
    *each("label", 2, -1, 0.5, "1", None, True, False, math.nan, 10**400, [1]),
    *each("weight", -1, -1e-9, "1", None, True, math.nan, math.inf, 1.1e6, []),
    *each("id", "", "x" * 129, 5.5, 5.0, None, True, [], 2**64, -(2**63) - 1),
    *each("id", *[f"a{character}b" for character in "\n\x00\x1f\x7f\x80\x9f\ud800"]),
    *each("features", None, [], "x", 1),
    ("extra", 1),
]


@pytest.mark.parametrize(("key", "value"), BAD_FIELDS)
def test_a_bad_field_is_refused_with_its_place(key: str, value: object) -> None:
    with pytest.raises(BadExample) as caught:
        examples_to_batch([{"label": 1, "features": {"a": "b"}, key: value}])
    assert (caught.value.row, caught.value.pointer) == (0, f"/examples/0/{key}")
    assert "\n" not in caught.value.detail


@pytest.mark.parametrize("missing", ["label", "features"])
def test_what_is_missing_is_named(missing: str) -> None:
    example: dict[str, object] = {"label": 1, "features": {}}
    del example[missing]
    with pytest.raises(BadExample) as caught:
        examples_to_batch([example])
    assert caught.value.pointer == f"/examples/0/{missing}"


@pytest.mark.parametrize("example", [None, 1, "x", [], [("features", {})]])
def test_an_example_is_an_object(example: object) -> None:
    with pytest.raises(BadExample) as caught:
        examples_to_batch([example])  # type: ignore[list-item]
    assert (caught.value.row, caught.value.pointer) == (0, "/examples/0")


@pytest.mark.parametrize(("label", "expected"), [(0, 0), (1, 1), (1.0, 1), (-0.0, 0)])
def test_labels(label: float, expected: int) -> None:
    batch = examples_to_batch([{"label": label, "features": {}}])
    assert batch.labels.tolist() == [expected]
    assert batch.labels.dtype == np.uint8


@pytest.mark.parametrize("label", [0, 7, "x", None, True])
def test_a_label_is_ignored_where_none_is_required(label: object) -> None:
    examples: list[dict[str, object]] = [{"label": label, "features": {}}, {"features": {}}]
    batch = ExampleBatch.from_examples(examples, require_labels=False)
    assert batch.labels.tolist() == [NO_LABEL, NO_LABEL]


def test_weights() -> None:
    weights = [0, 1, 0.5, 1e6, -0.0, 1e-40]
    batch = examples_to_batch([{"label": 1, "weight": w, "features": {}} for w in weights])
    assert batch.weights.tolist() == [0, 1, 0.5, 1e6, 0, 0]
    assert batch.weights.dtype == np.float32
    assert examples_to_batch([{"label": 1, "features": {}}]).weights.tolist() == [1]


@pytest.mark.parametrize(
    ("event_id", "text"),
    [
        ("imp-81", "imp-81"),
        ("é" * 128, "é" * 128),
        ("\xa0", "\xa0"),
        (0, "0"),
        (-5, "-5"),
        (2**64 - 1, str(2**64 - 1)),
        (-(2**63), str(-(2**63))),
    ],
)
def test_event_ids(event_id: str | int, text: str) -> None:
    batch = examples_to_batch(
        [{"label": 1, "features": {}, "id": event_id}, {"label": 1, "features": {}}],
        hash_seed=SEED,
    )
    assert batch.event_ids.tolist() == [xxhash.xxh64_intdigest(text.encode(), SEED), 0]


def test_the_limit_of_features_counts_what_contributes() -> None:
    most = replace(Limits(), features=3)
    good = {"label": 1, "features": {"a": [1, None, 2, False], "b": "x", "c": None}}
    assert examples_to_batch([good], limits=most).rows == 1
    for features in ({"a": [1, 2, 3, 4, {}]}, {"a": 1, "b": 1, "c": [1, 1]}):
        with pytest.raises(TooLarge) as caught:
            examples_to_batch([{"label": 1, "features": features}], limits=most)
        assert (caught.value.row, caught.value.pointer) == (0, "/examples/0/features")


def test_shared_features_are_merged_into_every_example() -> None:
    examples = [{"label": 1, "features": {"a": "x", "n": 1}}, {"label": 0, "features": {}}]
    batch = examples_to_batch(examples, shared={"a": ["x", "y"], "n": 2}, hash_seed=SEED)
    shared = [category("a", "x"), category("a", "y"), number("n", 2)]
    own = [category("a", "x", 2.0), category("a", "y"), number("n", 3)]
    assert row_of(batch, 0) == sorted(own)
    assert row_of(batch, 1) == sorted(shared)


def test_shared_features_count_towards_the_limit() -> None:
    most = replace(Limits(), features=3)
    examples = [{"label": 1, "features": {"a": 1}}, {"label": 1, "features": {"a": 1, "b": 1}}]
    with pytest.raises(TooLarge) as caught:
        examples_to_batch(examples, shared={"x": 1, "y": 1}, limits=most)
    assert caught.value.row == 1
    with pytest.raises(BadExample) as refused:
        examples_to_batch(examples, shared={"x": {}})
    assert (refused.value.row, refused.value.pointer) == (None, "/shared/x")


def test_no_order_of_the_input_changes_a_bit() -> None:
    pairs = [("a", "x"), ("b", 0.1), ("b", [0.7, 1e6, -1e6]), ("a", ["x", "y"]), ("c", True)]
    batches = [features_of(ObjectPairs(list(order))) for order in itertools.permutations(pairs)]
    assert all(batch == batches[0] for batch in batches)


def test_no_examples_are_an_empty_batch() -> None:
    batch = examples_to_batch([])
    assert (batch.rows, batch.nnz, batch.row_offsets.tolist()) == (0, 0, [0])


def test_a_place_leaves_out_what_no_pointer_can_hold() -> None:
    place = Place(3, "/examples/3")
    assert place.within("x" * 257) == place
    assert place.within("\udc00") == place
    assert place.within(5).pointer == "/examples/3/5"


def test_reader_counts_what_is_shared() -> None:
    reader = Reader(0, True, replace(Limits(), features=2))
    _, triples = reader.example({"label": 1, "features": {"a": 1}}, Place(0, ""), shared=1)
    assert len(triples) == 1
    with pytest.raises(TooLarge):
        reader.example({"label": 1, "features": {"a": 1}}, Place(0, ""), shared=2)
