"""Errors on the wire: RFC 9457 problems, and the one place that gives an error its status.

Every refusal is a `Problem`; `problem_from` turns the errors of the core and of the shell into one.
`type` is a relative reference into the catalogue below, which the service itself serves, so that a
client can branch on it and a person can open it. `detail` is written by us and never repeats what
was sent: an echo is how a log is injected and a page is scripted, and a repr of hostile input is
how an error handler becomes a 500.

    {"type": "/problems/bad-example", "title": "An example breaks a rule", "status": 422,
     "detail": "label must be 0 or 1", "row": 2, "pointer": "/examples/2/label"}

A 5xx of /learn also says `outcome`: `not_learned`, or `unknown` when the append was sent and never
confirmed. Retry-After goes with every 429 and 503, except an `unknown` that a blind retry would
count twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from starlette.responses import Response
from starlette.types import Send

from app.errors import (
    AppendUnknown,
    Conflict,
    IdempotencyConflict,
    LogError,
    LogFull,
    ModelGone,
    ModelNotFound,
    RedisAway,
    ServerRefused,
    Throttled,
    Unavailable,
    not_durable,
)
from app.ingest import UnsupportedMediaType
from app.replies import Headers, encode_json, send_reply
from ftrl_core.errors import (
    BadBody,
    BadConfig,
    BadExample,
    BadSnapshot,
    ClickfoldError,
    TooLarge,
)

Outcome = Literal["not_learned", "unknown"]
PROBLEM_JSON = b"application/problem+json"
RETRY_AFTER_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Kind:
    """One row of the catalogue: the status, the title, and what to do about it."""

    status: int
    title: str
    advice: str


CATALOGUE: dict[str, Kind] = {
    "bad-request": Kind(400, "The request is malformed", "Mend the request line or the headers."),
    "bad-body": Kind(
        400, "The body cannot be decoded", "Send a document of the stated media type, in UTF-8."
    ),
    "no-key": Kind(401, "A key is needed", "Send `Authorization: Bearer KEY`."),
    "scope-missing": Kind(
        403, "The key does not allow this", "Use a key with the scope, and for the model, named."
    ),
    "not-found": Kind(404, "There is no such page", "See /docs for the routes."),
    "model-not-found": Kind(
        404, "There is no such model", "GET /models lists them; PUT makes one."
    ),
    "snapshot-not-found": Kind(
        404, "There is no such snapshot", "GET /admin/snapshots lists the model's."
    ),
    "method-not-allowed": Kind(405, "The page has other methods", "See the Allow header."),
    "head-timeout": Kind(
        408, "The head did not arrive in time", "Send the whole head at once, or connect later."
    ),
    "body-timeout": Kind(408, "The body did not arrive in time", "Send it faster, or in parts."),
    "conflict": Kind(409, "The state does not allow this", "Read the detail, then decide."),
    "model-exists": Kind(409, "A model has that name", "PATCH changes it; DELETE removes it."),
    "memory-limit": Kind(
        409, "The model would not fit", "Raise memory_limit, or choose a smaller table."
    ),
    "not-hosted": Kind(
        409, "This process does not host the model", "Ask one that does; see the setting models."
    ),
    "skip-refused": Kind(
        409, "The entry cannot be skipped", "A checkpoint holds what it says; nothing is stuck."
    ),
    "not-stuck": Kind(
        409, "Nothing is to be skipped there", "/stats names the position that cannot be read."
    ),
    "configured-meanwhile": Kind(409, "Another change came first", "Look, and try again."),
    "restored-meanwhile": Kind(409, "Another restore came first", "Look, and try again."),
    "not-live": Kind(409, "This cannot change in a live model", "Make a new model for it."),
    "snapshot-exists": Kind(
        409, "A snapshot has that name", "Choose another name, or delete the older one first."
    ),
    "too-large": Kind(413, "A limit is exceeded", "Send less at once; the limits are settings."),
    "media-type": Kind(415, "The media type is not read here", "See /docs for the types that are."),
    "wrong-host": Kind(
        421, "The Host header is not this server's", "Without keys only loopback names are served."
    ),
    "too-many-connections": Kind(
        429, "The address has too many connections", "Close some, or keep and use them again."
    ),
    "rate-exceeded": Kind(
        429, "The key learns too fast", "Wait as long as Retry-After says; nothing was learned."
    ),
    "share-exceeded": Kind(
        429,
        "The key has its share of what is learned",
        "It may go on when other keys have learned; nothing was learned.",
    ),
    "head-too-large": Kind(431, "The head is too large", "Send fewer and shorter fields."),
    "bad-example": Kind(
        422, "An example breaks a rule", "`row` and `pointer` say which; nothing was learned."
    ),
    "bad-query": Kind(422, "A query parameter is wrong", "See /docs for the parameters."),
    "bad-name": Kind(422, "The name is not allowed", "Use lower-case letters, digits, . _ and -."),
    "bad-config": Kind(422, "The configuration is wrong", "The detail names the argument."),
    "bad-idempotency-key": Kind(
        422, "The Idempotency-Key is not allowed", "Send one, of 1 to 256 visible characters."
    ),
    "idempotency-conflict": Kind(
        422, "The key was used with another body", "Choose a new key for a new body."
    ),
    "bad-snapshot": Kind(422, "The snapshot is damaged", "The detail says where; nothing changed."),
    "internal-error": Kind(
        500, "The service failed", "This is a defect of the service; its log has the trace."
    ),
    "no-space": Kind(507, "The disk is full", "Delete snapshots, or give the directory room."),
    "starting": Kind(503, "The service is starting", "/readyz says what it is doing."),
    "stopping": Kind(
        503, "The service is stopping", "Send again, to another replica or a little later."
    ),
    "busy": Kind(503, "Too much is in flight", "Send again a little later."),
    "position-not-reached": Kind(
        503, "This replica has not folded that far", "Send again; nothing is lost."
    ),
    "not-durable": Kind(
        503, "Redis would not keep it", "The detail names the setting; /stats says what mends it."
    ),
    "unavailable": Kind(503, "The model cannot serve this now", "/readyz and /stats say why."),
    "redis-away": Kind(503, "Redis does not answer", "/learn resumes by itself when it does."),
    "redis-refuses": Kind(
        503, "Redis refuses to write", "The detail has its reason; /learn resumes by itself."
    ),
    "snapshot-store-differs": Kind(
        503, "The replicas have different snapshot directories", "Give all of them the same one."
    ),
    "log-full": Kind(503, "The log is full", "A checkpoint is making room; send again later."),
}


class Problem(Exception):
    """A refusal; `slug` is a row of the catalogue, or the shell's own word for it."""

    def __init__(
        self,
        slug: str,
        detail: str,
        *,
        status: int | None = None,
        row: int | None = None,
        pointer: str | None = None,
        outcome: Outcome | None = None,
        retry_after: float | None = None,
        headers: Headers | None = None,
    ) -> None:
        super().__init__(detail)
        kind = CATALOGUE.get(slug)
        self.slug = slug
        self.detail = detail
        self.status = status if status is not None else (kind.status if kind else 500)
        self.title = kind.title if kind else slug.replace("-", " ").capitalize()
        self.row = row
        self.pointer = pointer
        self.outcome = outcome
        self.retry_after = retry_after
        self.headers = headers or []

    def document(self) -> dict[str, Any]:
        """The members of the problem document; those that do not apply are left out."""
        whole = {
            "type": f"/problems/{self.slug}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "row": self.row,
            "pointer": self.pointer,
            "outcome": self.outcome,
        }
        return {name: value for name, value in whole.items() if value is not None}

    def reply_headers(self) -> Headers:
        """The headers beside the usual ones: Retry-After, Allow, WWW-Authenticate."""
        if self.retry_after is None:
            return self.headers
        seconds = max(1, round(self.retry_after))
        return [*self.headers, (b"retry-after", b"%d" % seconds)]


async def send_problem(send: Send, problem: Problem) -> None:
    """Send a problem by plain ASGI."""
    body = encode_json(problem.document())
    await send_reply(send, problem.status, body, PROBLEM_JSON, problem.reply_headers())


def problem_reply(problem: Problem) -> Response:
    """A problem as a Response, for FastAPI's exception handlers."""
    headers = {name.decode(): value.decode() for name, value in problem.reply_headers()}
    return Response(
        encode_json(problem.document()),
        status_code=problem.status,
        headers=headers,
        media_type=PROBLEM_JSON.decode(),
    )


def problem_from(error: ClickfoldError) -> Problem:
    """The problem that an operating error is on the wire; the only such table."""
    if isinstance(error, BadExample | TooLarge):
        slug = "bad-example" if isinstance(error, BadExample) else "too-large"
        return Problem(slug, error.detail, row=error.row, pointer=error.pointer)
    if isinstance(error, Unavailable):
        return _unavailable(error)
    if isinstance(error, Throttled):
        return Problem(error.slug, error.detail, retry_after=error.retry_after)
    if isinstance(error, Conflict):
        return Problem(error.slug, error.detail, status=409)
    if isinstance(error, LogError):
        return _log_problem(error)
    for kind, slug in _BY_KIND.items():
        if isinstance(error, kind):
            return Problem(slug, str(error) or CATALOGUE[slug].title)
    return Problem("internal-error", "an operating error has no reply of its own")


_BY_KIND: dict[type[ClickfoldError], str] = {
    BadBody: "bad-body",
    BadConfig: "bad-config",
    BadSnapshot: "bad-snapshot",
    UnsupportedMediaType: "media-type",
    IdempotencyConflict: "idempotency-conflict",
    ModelNotFound: "model-not-found",
}


def _unavailable(error: Unavailable) -> Problem:
    outcome: Outcome | None = None
    if error.outcome is not None:
        outcome = "unknown" if error.outcome == "unknown" else "not_learned"
    return Problem(
        error.type_slug,
        error.detail,
        status=error.status,
        outcome=outcome,
        # Whether an `unknown` may be retried blindly is the replica's to say, by its retry_after.
        retry_after=error.retry_after
        if error.retry_after is not None or outcome == "unknown"
        else RETRY_AFTER_SECONDS,
    )


def _log_problem(error: LogError) -> Problem:
    """What the log says no to and no replica has put in its own words."""
    if isinstance(error, ModelGone):
        return Problem("model-not-found", "the model has been deleted")
    if isinstance(error, AppendUnknown):
        return Problem("unavailable", "sent and not confirmed by Redis", outcome="unknown")
    if isinstance(error, LogFull):
        return Problem("log-full", "the log is full", retry_after=error.retry_after)
    if isinstance(error, ServerRefused):
        return problem_from(not_durable(error))
    slug = "redis-away" if isinstance(error, RedisAway) else "unavailable"
    return Problem(slug, error.detail or "not possible now", retry_after=RETRY_AFTER_SECONDS)
