"""The root command: finds a command's module when it is asked for, and ends with its exit code."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from weighbridge.cli.exit_codes import MEANINGS, CommandError, CommandNoError, ExitCode

PROGRAM: Final = "weighbridge"

# In the order of the help. A module is imported when its command runs, so that `weighbridge
# sidecar` does not pay for tables and stubs.
COMMANDS: Final[dict[str, str]] = {
    "up": "weighbridge.cli.up",
    "control-plane": "weighbridge.cli.run_control_plane",
    "sidecar": "weighbridge.cli.run_sidecar",
    "migrate": "weighbridge.cli.migrate",
    "catalog": "weighbridge.cli.catalog",
    "customer": "weighbridge.cli.customer",
    "subscription": "weighbridge.cli.subscription",
    "override": "weighbridge.cli.override",
    "credits": "weighbridge.cli.credits",
    "ledger": "weighbridge.cli.ledger",
    "webhook": "weighbridge.cli.webhook",
    "check": "weighbridge.cli.check",
    "quote": "weighbridge.cli.quote",
    "consume": "weighbridge.cli.consume",
    "report": "weighbridge.cli.report",
    "reserve": "weighbridge.cli.reserve",
    "extend": "weighbridge.cli.extend",
    "settle": "weighbridge.cli.settle",
    "release": "weighbridge.cli.release",
    "entitlements": "weighbridge.cli.entitlements",
    "watch": "weighbridge.cli.watch",
    "usage": "weighbridge.cli.usage",
    "set-aside": "weighbridge.cli.set_aside",
    "statement": "weighbridge.cli.statement",
    "explain": "weighbridge.cli.explain",
    "export": "weighbridge.cli.export",
    "import": "weighbridge.cli.imports",
    "external-id": "weighbridge.cli.external_id",
    "replay": "weighbridge.cli.replay",
    "doctor": "weighbridge.cli.doctor",
}


class LazyGroup(TyperGroup):
    """A group that knows its commands by name and imports one when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        module_name = COMMANDS.get(cmd_name)
        if module_name is None:
            return None
        command = typer.main.get_command(import_module(module_name).app)
        command.name = cmd_name
        return command


def _epilog() -> str:
    codes = "; ".join(f"{code.value} {meaning}" for code, meaning in MEANINGS.items())
    return f"Exit codes: {codes}."


app = typer.Typer(name=PROGRAM, cls=LazyGroup, epilog=_epilog())


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"{PROGRAM} {version('weighbridge')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version"),
    ] = False,
) -> None:
    """Meter and gate paid APIs: a control plane, and a sidecar that decides locally.

    Try `weighbridge up`, then `weighbridge catalog apply FILE` and `weighbridge customer create`.
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(ExitCode.USAGE)


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code. Errors are told on stderr."""
    try:
        return _invoke(arguments)
    except CommandError as error:
        failure = error
    except typer.TyperException as error:
        failure = CommandError(_usage_message(error), ExitCode.USAGE)
    except typer.Abort:
        failure = CommandError("interrupted", ExitCode.INTERRUPTED)
    except ModuleNotFoundError as error:
        failure = _not_installed(error)
    except Exception:  # noqa: BLE001 - the trace is printed, and 1 would say "refused"
        traceback.print_exc()
        return ExitCode.BUG
    _tell(failure, as_json="--json" in arguments)
    return failure.exit_code


def _not_installed(error: ModuleNotFoundError) -> CommandError:
    """Return what to install. A missing module of this project is a defect, not a choice."""
    if error.name is None or error.name.split(".")[0] in {PROGRAM, "control_plane", "sidecar"}:
        raise error
    message = f"this command needs the module {error.name}; install weighbridge[all]"
    return CommandError(message, ExitCode.FAILED)


def _invoke(arguments: Sequence[str]) -> int:
    try:
        result = typer.main.get_command(app).main(
            args=list(arguments), prog_name=PROGRAM, standalone_mode=False
        )
    except CommandNoError:
        return ExitCode.NO
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):
            # The reader (`| head`) has what it wanted; the interpreter's last flush must not fail.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return ExitCode.OK
        raise
    return result if isinstance(result, int) else ExitCode.OK


def _usage_message(error: typer.TyperException) -> str:
    context = getattr(error, "ctx", None)
    message = error.format_message().rstrip(".")
    return message if context is None else f"{message} (see {context.command_path} --help)"


def _tell(error: CommandError, *, as_json: bool) -> None:
    line = " ".join(error.message.split())
    if as_json:
        code = error.exit_code
        detail = {"code": code.name, "exit_code": code.value, "message": line}
        line = json.dumps({"error": detail}, ensure_ascii=False)
    else:
        line = f"error: {line}"
    sys.stderr.write(line + "\n")
