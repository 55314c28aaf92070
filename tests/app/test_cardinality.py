"""Labels of metrics come from fixed sets, whatever is asked for."""

from __future__ import annotations

import random
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from app.request_meter import METHODS
from app.route_table import ROUTES
from tests.app.http_service import chunks, raw_request, running

ASKED = ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "BREW", "PROPFIND")
SHAPES = ("/{}", "/models/{}", "/models/{}/stats", "/admin/snapshots/{}", "/{}/learn")
ALLOWED = {
    "route": {route.template for route in ROUTES} | {"unknown"},
    "method": METHODS | {"other"},
    "model": {"default"},
    "replica": {"0"},
    "key": {"ops", "none", "other"},
}
FREE = {"status", "le", "reason"}  # numbers, and names in the code


async def test_nobody_makes_a_series(redis_url: str, tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)

    def word() -> str:
        return "Q" + "".join(rng.choices("abc.-_{}%\n\u00e9", k=rng.randint(1, 12)))

    async with running(redis_url, tmp_path, keys="ops admin,learn,predict the-key") as service:
        for _ in range(1500):
            key = rng.choice(["the-key", word()])
            headers = [("authorization", f"Bearer {key}"), ("x-" + word(), word())]
            path = rng.choice(SHAPES).format(word())
            await raw_request(
                service.app, rng.choice(ASKED), path, raw_path=b"/x", headers=headers,
                pieces=chunks(b"{}"),
            )  # fmt: skip
        known = {"authorization": "Bearer the-key"}
        text = (await service.client.get("/metrics", headers=known)).text
    families = list(text_string_to_metric_families(text))
    labels = [pair for one in families for sample in one.samples for pair in sample.labels.items()]
    assert len(labels) > 100
    for name, value in labels:
        assert name in FREE or value in ALLOWED[name], (name, value)
