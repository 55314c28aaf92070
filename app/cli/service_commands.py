"""serve, demo, doctor and version: the commands about the service as a program on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from app.cli import options
from app.cli.failures import CommandFailed, say

_DEMO_EXAMPLES = 200_000
_DEMO_MODEL = "demo"


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on [127.0.0.1].")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on [8000].")] = None,
    workers: Annotated[int | None, typer.Option(help="Server processes [1].")] = None,
    redis_url: Annotated[
        str | None, typer.Option(help="Redis to use in place of the embedded server.")
    ] = None,
    key_prefix: Annotated[str | None, typer.Option(help="Prefix of keys in Redis [ctr].")] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Data of the embedded server [clickfold-data].")
    ] = None,
    snapshot_dir: Annotated[
        Path | None, typer.Option(help="Where snapshots lie [DATA_DIR/snapshots].")
    ] = None,
    durability: Annotated[
        str | None,
        typer.Option(metavar="fsync|everysec|provider", help="What an answer promises [fsync]."),
    ] = None,
    waitaof: Annotated[
        bool | None, typer.Option(help="Promise fsync by WAITAOF after each append [no].")
    ] = None,
    models: Annotated[
        str | None, typer.Option(help="Models hosted here, such as a,b* [*].")
    ] = None,
    memory_limit: Annotated[
        str | None, typer.Option(help="Memory of all models together [8GiB].")
    ] = None,
    config: options.Config = None,
    keys_file: Annotated[Path | None, typer.Option(help="File of keys and their scopes.")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Private key, PEM.")] = None,
    redis_binary: Annotated[
        str | None, typer.Option(help="Binary of the embedded server, or `bundled`.")
    ] = None,
) -> None:
    """Run the service.

    Every option is a setting, also as environment variable CLICKFOLD_<NAME>; flags win over the
    environment, that over .env, that over the defaults in brackets.
    """
    flags = dict(locals())
    from app.cli.serve import serve as run_service

    run_service(flags)


def demo(
    url: Annotated[
        str | None, typer.Option(help="A running service; without it the demo starts one.")
    ] = None,
    key: options.Key = None,
    model: Annotated[
        str | None, typer.Option(help="Model to teach [default; with --url: demo].")
    ] = None,
    examples: Annotated[int, typer.Option(min=1, help="Length of the log.")] = _DEMO_EXAMPLES,
    rate: Annotated[
        float | None, typer.Option(min=1, help="Examples a second; at full speed if absent.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the log.")] = 1,
    batch: options.Batch = 1000,
    port: Annotated[int | None, typer.Option(help="Port of the demo's own service.")] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Its data directory; a temporary one if absent.")
    ] = None,
    stop: Annotated[bool, typer.Option("--exit", help="End when the log is learned.")] = False,
    as_json: options.Json = False,
) -> None:
    """Serve, stream a synthetic click log with known truth, and show how close learning comes."""
    from app.cli import demo as running

    plan = running.DemoPlan(examples, seed, batch, rate)
    if url is not None:
        _make_model(url, key, model or _DEMO_MODEL)
        _run_demo(url, key, model or _DEMO_MODEL, plan, as_json)
        return
    running.end_like_ctrl_c_on_sigterm()
    with running.own_service(port, data_dir) as own_url:
        if model is not None:
            _make_model(own_url, key, model)
        _run_demo(own_url, key, model or options.DEFAULT_MODEL, plan, as_json)
        if not stop:
            say("still serving; Ctrl-C ends it")
            running.wait_for_interrupt()


def _make_model(url: str, key: str | None, model: str) -> None:
    """Make the model unless there is one of that name."""
    from urllib.parse import quote

    from app.cli.service import Service, ServiceProblem

    path = f"/models/{quote(model, safe='')}"
    with Service(url, key, model) as service:
        try:
            service.ask("GET", path)
        except ServiceProblem as problem:
            if problem.status != 404:
                raise
            service.ask("PUT", path, json={})


def _run_demo(url: str, key: str | None, model: str, plan: object, as_json: bool) -> None:
    from app.cli.demo import DemoPlan, stream
    from app.cli.service import Service

    assert isinstance(plan, DemoPlan)
    say(f"learning {plan.examples:,} examples of a synthetic click log, seed {plan.seed}, at {url}")
    say("the world changes half-way: watch `since last` leave `truth last`, and come back")
    with Service(url, key, model, retry_seconds=60.0) as service:
        figures = stream(service, plan)
    if as_json:
        typer.echo(json.dumps(figures))
        return
    gap = (figures["log_loss"] or 0.0) - figures["truth_log_loss"]
    typer.echo(
        f"\n{figures['examples']:,} examples at {figures['examples_per_second']:,.0f} a second.\n"
        f"Progressive log loss {figures['log_loss']:.5f}; the truth's own is"
        f" {figures['truth_log_loss']:.5f}, so {gap:.5f} was the price of learning.\n"
        f"AUC {_shown(figures['auc'])}, calibration {_shown(figures['calibration'])},"
        f" position {figures['position']}, digest {figures['digest']}.\n"
    )
    option = "" if model == options.DEFAULT_MODEL else f" --model {model}"
    path = "" if model == options.DEFAULT_MODEL else f"/models/{model}"
    typer.echo(
        "Try next:\n"
        f"  curl {url}{path}/predict -H 'content-type: application/json' \\\n"
        '    -d \'{"features": {"user": "u0", "ad": "a0", "site": "s0", "hour": "20"}}\'\n'
        f"  clickfold stats --url {url}{option}\n"
        f"  clickfold snapshot --url {url}{option} --name first\n"
        f"  clickfold learn YOUR.csv --url {url} --model yours"
        f"    (after: clickfold models create yours --url {url})\n"
        f"  {url}/docs in a browser"
    )


def _shown(figure: float | None) -> str:
    return "-" if figure is None else f"{figure:.4f}"


def doctor(
    redis_url: Annotated[str | None, typer.Option(help="Redis to reach, as for serve.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Data directory, as for serve.")] = None,
    as_json: options.Json = False,
) -> None:
    """Examine settings, keys, Redis, disk, memory and limits, and say what to mend.

    Exit status 1 when something would keep the service from working; warnings do not count.
    """
    from app.cli.doctor import examine

    findings = examine(redis_url, data_dir)
    if as_json:
        typer.echo(json.dumps([finding._asdict() for finding in findings]))
    else:
        for finding in findings:
            typer.echo(f"{finding.mark:<4}  {finding.what:<16} {finding.detail}")
            if finding.mend:
                typer.echo(f"      {'':<16} -> {finding.mend}")
    failed = sum(not finding.ok for finding in findings)
    if failed:
        raise CommandFailed(f"{failed} of {len(findings)} checks failed")


def version(as_json: options.Json = False) -> None:
    """Print the version."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as version_of

    try:
        number = version_of("clickfold")
    except PackageNotFoundError:
        number = "unknown"  # run from a checkout that was not installed
    typer.echo(json.dumps({"version": number}) if as_json else f"clickfold {number}")
