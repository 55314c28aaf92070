"""Vowpal Wabbit's text models, against VW itself: scripts/record_vw_models.py recorded both of its
texts for each learner and hash, and what VW predicts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ftrl_core.batch import ExampleBatch
from ftrl_core.errors import BadWeights
from ftrl_core.interchange import LinearWeights, read_vw, vw_index, write_vw
from ftrl_core.synthesis import model_of

RECORDED = json.loads((Path(__file__).parent / "recorded" / "vw_models.json").read_text())
GOLDENS = Path(__file__).parents[3] / "shared" / "goldens" / "vw_feature_hashes.json"
MODELS: dict[str, dict[str, Any]] = RECORDED["models"]
LINEAR = sorted(MODELS.keys() - {"interactions"})
# VW writes six digits of a weight, and that bounds the error; --adaptive has a weight above 10.
TOLERANCE = {"adaptive": 2e-5}
PLAIN = {"optimizer": {"learning_rate": 0.1}}


def text(model: str, kind: str = "invert_hash") -> list[bytes]:
    return str(MODELS[model][kind]).encode().splitlines(keepends=True)


def names(model: str = "default") -> list[str]:
    """namespace^feature of every entry of the recorded text but the constant's."""
    entries = [line.decode() for line in text(model)[11:]]
    found = [line.rsplit(":", 2)[0] for line in entries if line.count(":") >= 2]
    return [name for name in found if name not in ("Constant", "sd")]


def changed(model: str, old: str, new: str) -> list[bytes]:
    whole = str(MODELS[model]["invert_hash"])
    assert old in whole
    return whole.replace(old, new, 1).encode().splitlines(keepends=True)


@pytest.mark.parametrize("model", LINEAR)
def test_predictions_are_those_of_vowpal_wabbit(model: str) -> None:
    examples = [{"features": e["features"]} for e in RECORDED["examples"]]
    batch = ExampleBatch.from_examples(examples, require_labels=False)
    imported = model_of(read_vw(text(model), names_as="feature"), PLAIN)
    theirs = np.array(MODELS[model]["predictions"])
    assert theirs.std() > 0.05
    error = np.abs(imported.predict(batch) - theirs).max()
    assert error < TOLERANCE.get(model, 1e-6)


@pytest.mark.parametrize("model", LINEAR)
def test_a_readable_model_is_read_by_hashing_the_names(model: str) -> None:
    known = names()
    of_names = read_vw(text(model))
    of_hashes = read_vw(text(model, "readable_model"), [*known, "never^seen"])
    assert len(of_names.features) == len(known)
    both = [dict(zip(w.features, w.w, strict=True)) for w in (of_names, of_hashes)]
    assert both[0] == both[1]
    assert (of_names.bias, of_names.bias_n) == (of_hashes.bias, of_hashes.bias_n)


def test_n_is_the_sum_of_squared_gradients_where_the_file_has_it() -> None:
    """g^2 is about p (1 - p) of each of 200 examples; 007 always has the value 2."""
    for model in ("default", "ftrl", "adaptive", "hash_all", "bits"):
        weights = read_vw(text(model), names_as="feature")
        assert weights.n is not None
        n = dict(zip(weights.features, weights.n, strict=True))
        assert 20 < n["plain", None] < 100, model
        assert n["007", None] == pytest.approx(4 * n["plain", None], rel=1e-4)
        assert weights.bias_n == pytest.approx(n["plain", None], rel=1e-4)
    for model in ("sgd", "coin", "no_state"):
        assert (read_vw(text(model)).n, read_vw(text(model)).bias_n) == (None, None)


def test_ftrl_weights_follow_from_its_state() -> None:
    """The recorded arguments: alpha .1, beta 1, l1 .01, l2 .1."""
    for line in text("ftrl"):
        name, _, cells = line.decode().rpartition(":")
        if name.count(":") == 1 and len(cells.split()) == 3:
            w, z, n = map(float, cells.split())
            made = -(z - np.sign(z) * 0.01) / ((1 + np.sqrt(n)) / 0.1 + 0.1)
            assert w == pytest.approx(made, rel=1e-4, abs=1e-6)


def test_namespaces_are_names_or_dropped() -> None:
    as_names = read_vw(text("default")).features
    assert ("site", "a") in as_names
    assert ("num", "price") in as_names
    assert ("k", "v") in as_names
    assert ("plain", None) in as_names
    dropped = read_vw(text("default"), names_as="feature").features
    assert ("a", None) in dropped
    assert ("id", "3") in dropped
    assert ("price", None) in dropped


def test_hashes_are_vowpal_wabbits() -> None:
    if not GOLDENS.is_file():
        pytest.skip("the goldens are not beside the checkout")
    for golden in json.loads(GOLDENS.read_text()):
        namespace = golden["namespace"].strip()
        name = f"{namespace}^{golden['feature']}" if namespace else golden["feature"]
        assert vw_index(name) == golden["hash_feature_b18"], name


def test_names_alone_decide_what_a_readable_model_says() -> None:
    lines = text("default", "readable_model")
    with pytest.raises(BadWeights, match="a list of names is needed"):
        read_vw(lines)
    with pytest.raises(BadWeights, match="1 weights have an index that none of the 14 names has"):
        read_vw(lines, names()[1:])
    partial = read_vw(lines, names()[1:], allow_unnamed=True)
    assert len(partial.features) == len(names()) - 1
    assert partial.notes[0] == "1 weights without a name were left out"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Version", "Virsion", "line 1: .* begins with its Version"),
        ("bits:18", "bits:0", "line 11: the header has no usable bits"),
        ("lda:0", "lda:5", "line 6: a model with lda"),
        ("0 ngram:", "1 ngram:2", "line 7: a model with 1 ngram"),
        ("--link logistic", "--link logistic --oaa 3", "line 9: option '--oaa'"),
        ("--link logistic", "--hash_seed x", "line 9: --hash_seed is not"),
        (":1\n", "", "the header has no end"),
        ("site^a:", "site^b:", "'site=b' comes twice"),
        ("site^a:36095:", "site^a:36095:nan", "line 3[0-9]: a finite number is expected"),
        ("site^a:36095:", "site^a:36095;", "line 3[0-9]: no entry"),
        ("site^a:36095:", "site^a:999999:", "line 3[0-9]: no weight, or an index beyond the 18"),
    ],
)
def test_a_bad_file_is_refused_with_its_line(old: str, new: str, message: str) -> None:
    with pytest.raises(BadWeights, match=message):
        read_vw(changed("default", old, new))


def test_interactions_are_refused() -> None:
    with pytest.raises(BadWeights, match="option '--quadratic'"):
        read_vw(text("interactions"))


def test_what_is_written_is_read_back_and_has_vowpal_wabbits_indices() -> None:
    weights = LinearWeights(
        [("site", "a^b"), ("price", None), ("42", None), ("k", "")],
        np.array([0.1, -2.5, 1e-7, 3.0]),
        bias=-1.25,
    )
    back = read_vw(write_vw(weights, 22).splitlines())
    assert dict(zip(back.features, back.w, strict=True)) == pytest.approx(
        dict(zip(weights.features, weights.w, strict=True)), rel=1e-8
    )
    assert back.bias == -1.25
    recorded = {line.rpartition(b":")[0] for line in text("default")}
    assert b"site^a:36095" in recorded
    one = LinearWeights([("site", "a")], np.array([1.0]))
    assert b"site^a:36095:1\n" in write_vw(one)


@pytest.mark.parametrize("feature", [("a^b", "c"), ("a", "b c"), ("a:b", None), ("a=b", None)])
def test_what_the_format_cannot_hold_is_refused(feature: tuple[str, str | None]) -> None:
    with pytest.raises(BadWeights, match=r"cannot (hold|be spelled)"):
        write_vw(LinearWeights([feature], np.ones(1)))
