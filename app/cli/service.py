"""A running service, as the commands see it: requests, and which of them are sent again.

    answer                        what happens
    2xx                           returned
    429, 502, 503, 504            again, until `retry_seconds` have passed since the first try
    no answer (refused, reset,    again, likewise
    timed out)
    any other status              ServiceProblem at once: asking again changes nothing

Sending again is safe: /predict, GET and the like change nothing, and /learn carries an
Idempotency-Key, so the service counts the request once although the first answer said
`outcome: unknown` or never came. Commands that change something and have no key (snapshot,
restore, skip, models) are therefore made with retry_seconds = 0.

Waiting doubles from 0.1 s to 5 s with jitter, or is what Retry-After says when that is longer.
The proxies of the environment are not used for a loopback address: they could not reach it.
"""

from __future__ import annotations

import ipaddress
import json
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx2

from app.cli.examples import NDJSON_BODY, BodyKind
from app.cli.failures import CommandFailed, bad_usage, say

_AGAIN = frozenset({429, 502, 503, 504})
_PIECE_BYTES = 1 << 20
_WAIT_FIRST_SECONDS = 0.1
_WAIT_MAX_SECONDS = 5.0
_TIMEOUT = httpx2.Timeout(60.0, connect=5.0)
LONG_TIMEOUT_SECONDS = 900.0  # a snapshot or a restore of a large table


class ServiceProblem(CommandFailed):
    """The service refused: its problem document, or what stood in place of one."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status = status
        row = problem.get("row")
        self.row: int | None = row if type(row) is int else None
        self.outcome = problem.get("outcome")
        self.detail = str(problem.get("detail") or problem.get("title") or "no detail given")
        outcome = f" (outcome: {self.outcome})" if self.outcome else ""
        super().__init__(f"the service answered {status}: {self.detail}{outcome}")


@dataclass(frozen=True)
class Learned:
    """The answer to a learn request; `predictions` has None for a duplicate."""

    position: str
    accepted: int
    duplicates: int
    predictions: list[float | None]


class Service:
    """One model of one service, over one kept-alive connection. Not for several threads."""

    def __init__(
        self,
        url: str,
        key: str | None,
        model: str = "default",
        retry_seconds: float = 0.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        headers = {"User-Agent": "clickfold"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        self._url = url.rstrip("/")
        self._model_path = f"/models/{quote(model, safe='')}"
        self._retry_seconds = retry_seconds
        self._sleep = sleep
        try:
            parsed = httpx2.URL(self._url)
            if parsed.scheme not in ("http", "https") or not parsed.host:
                raise bad_usage(f"not an http or https address: {url}", "--url")
            self._client = httpx2.Client(
                base_url=self._url,
                headers=headers,
                timeout=_TIMEOUT,
                trust_env=not _is_loopback(parsed.host),
            )
        except (httpx2.InvalidURL, ValueError) as error:
            raise bad_usage(f"not an http or https address: {error}", "--url") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.close()

    def learn(self, body: bytes, idempotency_key: str, kind: BodyKind = NDJSON_BODY) -> Learned:
        """Learn one example a line, once, however often it has to be sent."""
        answer = self.ask(
            "POST",
            f"{self._model_path}/learn?{kind.query}".rstrip("?"),
            content=body,
            headers={"Content-Type": kind.media_type, "Idempotency-Key": idempotency_key},
        )
        try:
            return Learned(
                str(answer["position"]),
                int(answer["accepted"]),
                int(answer["duplicates"]),
                list(answer["predictions"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise _unknown_answer(f"{self._model_path}/learn") from error

    def predict(self, body: bytes, kind: BodyKind = NDJSON_BODY) -> list[float]:
        """Probabilities of examples, one a line."""
        path = f"{self._model_path}/predict"
        headers = {"Content-Type": kind.media_type}
        answer = self.ask("POST", path, content=body, headers=headers)
        try:
            return [float(p) for p in answer["predictions"]]
        except (KeyError, TypeError, ValueError) as error:
            raise _unknown_answer(path) from error

    def explain(self, features: Mapping[str, Any]) -> tuple[float, dict[str, Any]]:
        """An example's probability, and the explanation as /predict gives it."""
        path = f"{self._model_path}/predict?explain=true"
        answer = self.ask("POST", path, json={"features": features})
        try:
            return float(answer["predictions"][0]), dict(answer["explanations"][0])
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise _unknown_answer(path) from error

    def stats(self) -> dict[str, Any]:
        """The model's /stats."""
        answer = self.ask("GET", f"{self._model_path}/stats")
        if not isinstance(answer, dict):
            raise _unknown_answer(f"{self._model_path}/stats")
        return answer

    def admin(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """A request under the model's /admin; `path` begins with a slash."""
        full_path = f"{self._model_path}/admin{path}"
        return self.ask(method, full_path, json=body, timeout=LONG_TIMEOUT_SECONDS)

    def ask(self, method: str, path: str, **request: Any) -> Any:
        """Send until answered and return the decoded JSON, None for an empty body.

        Raises ServiceProblem for a refusal, CommandFailed when no answer came in time.
        """
        response = self._send(method, path, request)
        if not response.content:
            return None
        try:
            return response.json()
        except ValueError as error:
            raise _unknown_answer(path) from error

    def download(self, path: str) -> Iterator[bytes]:
        """The bytes of a GET under the model's /admin, piece by piece."""
        try:
            with self._client.stream("GET", f"{self._model_path}/admin{path}") as response:
                if not response.is_success:
                    response.read()
                    raise _problem(response)
                yield from response.iter_bytes()
        except httpx2.TransportError as error:
            raise CommandFailed(f"{self._url}: {_cause(error)}") from error

    def lines(self, path: str) -> Iterator[dict[str, Any]]:
        """The lines of a GET under the model that streams JSON, as they come."""
        try:
            with self._client.stream("GET", f"{self._model_path}{path}") as response:
                if not response.is_success:
                    response.read()
                    raise _problem(response)
                for line in response.iter_lines():
                    yield json.loads(line)
        except httpx2.TransportError as error:
            raise CommandFailed(f"{self._url}: {_cause(error)}") from error
        except ValueError as error:
            raise _unknown_answer(path) from error

    def upload(self, path: str, file: Path) -> None:
        """PUT a file under the model's /admin, streamed."""
        try:
            with file.open("rb") as content:
                response = self._client.put(
                    f"{self._model_path}/admin{path}",
                    content=iter(lambda: content.read(_PIECE_BYTES), b""),
                    headers={"Content-Length": str(file.stat().st_size)},
                    timeout=LONG_TIMEOUT_SECONDS,
                )
        except httpx2.TransportError as error:
            raise CommandFailed(f"no answer from {self._url}: {_cause(error)}") from error
        except OSError as error:
            raise CommandFailed(f"cannot read {file}: {error}") from error
        if not response.is_success:
            raise _problem(response)

    def _send(self, method: str, path: str, request: dict[str, Any]) -> httpx2.Response:
        give_up_at: float | None = None
        wait = _WAIT_FIRST_SECONDS
        while True:
            failure, asked_wait = self._try(method, path, request)
            if isinstance(failure, httpx2.Response):
                return failure
            now = time.monotonic()
            if give_up_at is None:
                give_up_at = now + self._retry_seconds
                if self._retry_seconds > 0:
                    say(f"{failure}; trying again for up to {self._retry_seconds:g} s")
            if now >= give_up_at:
                raise failure
            pause = max(asked_wait, wait * random.uniform(0.5, 1.0))  # noqa: S311  only jitter
            self._sleep(min(pause, give_up_at - now))
            wait = min(wait * 2, _WAIT_MAX_SECONDS)

    def _try(
        self, method: str, path: str, request: dict[str, Any]
    ) -> tuple[httpx2.Response | CommandFailed, float]:
        """The answer, or a failure worth another try and how long the service wants us to wait."""
        try:
            response = self._client.request(method, path, **request)
        except httpx2.TransportError as error:
            return CommandFailed(f"no answer from {self._url}: {_cause(error)}"), 0.0
        except httpx2.HTTPError as error:
            raise CommandFailed(f"{self._url}: {_cause(error)}") from error
        if response.is_success:
            return response, 0.0
        if response.status_code in _AGAIN:
            return _problem(response), _retry_after(response)
        raise _problem(response)


def _problem(response: httpx2.Response) -> ServiceProblem:
    try:
        document = response.json()
    except ValueError:
        document = None
    known = document if isinstance(document, dict) else {"detail": response.reason_phrase}
    return ServiceProblem(response.status_code, known)


def _retry_after(response: httpx2.Response) -> float:
    """Seconds of Retry-After; 0 when missing or a date, which our own service never sends."""
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() else 0.0


def _unknown_answer(path: str) -> CommandFailed:
    return CommandFailed(f"the answer to {path} is not that of a clickfold service")


def _cause(error: Exception) -> str:
    return str(error) or type(error).__name__


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
