"""The command `clickfold`: what it can be told to do, and nothing of how.

    file_commands      learn, predict, train              click logs in
    interchange_commands   import, export              weights of other systems
    explain            what each feature contributes
    report             a page about a model, with plots
    admin_commands     snapshot, restore, stats, skip,    a running service
                       models (list, create, show, delete)
    key_commands       keys (new, list, check)            who may do what
    service_commands   serve, demo, doctor, version       the service as a program

Declaring a command imports typer and little else; what it needs to run (numpy, numba, the HTTP
client, the whole service) is imported when it runs, so that `--help` answers at once.

Results go to stdout, everything for a person's eyes to stderr. Exit status: 0 done, 1 failed, 2 bad
usage (failures.py).
"""

from __future__ import annotations

import typer

from app.cli import (
    admin_commands,
    file_commands,
    interchange_commands,
    key_commands,
    service_commands,
)
from app.cli.explain import explain
from app.cli.failures import FailureGroup
from app.cli.report import report

app = typer.Typer(
    name="clickfold",
    cls=FailureGroup,
    help="Online click-through-rate learning: serve, learn, predict.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for _command in (
    service_commands.serve,
    service_commands.demo,
    file_commands.learn,
    file_commands.predict,
    file_commands.train,
    explain,
    report,
    admin_commands.snapshot,
    admin_commands.restore,
    admin_commands.stats,
    admin_commands.skip,
    service_commands.doctor,
    service_commands.version,
):
    app.command()(_command)
app.command("import")(interchange_commands.import_weights)
app.command("export")(interchange_commands.export_weights)
app.add_typer(admin_commands.models, name="models")
app.add_typer(key_commands.keys, name="keys")


def main() -> None:
    """Entry point of the command."""
    app()


if __name__ == "__main__":
    main()
