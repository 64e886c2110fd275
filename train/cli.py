"""The command line: ``python -m train COMMAND``, also ``performative-rl COMMAND``; commands are in `train.options`.

Exit codes: 0 done, 1 some runs failed, 2 the command or a settings file is wrong, 130 interrupted, 141 nobody
reads what is printed any more.
"""

from __future__ import annotations

import io
import os
import shlex
import sys
from collections.abc import Sequence
from typing import Any

from perf_envs.extras import MissingExtraError, check_extra
from perf_envs.validation import did_you_mean
from train.failures import RunFailedError

_DESCRIPTION = "Train agents in performative worlds, compare them, and report what came out."


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    _print_anything()
    try:
        check_extra("train", "the command line")
        return int(_parse(arguments).run("python -m train " + shlex.join(arguments)))
    except SystemExit as stop:  # tyro: help was shown (0), or an option has no valid value (2)
        return stop.code if isinstance(stop.code, int) else 2
    except BrokenPipeError:
        # Whoever read what is printed (``| head``) has had enough: what is still buffered goes nowhere at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (ValueError, OSError, MissingExtraError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except RunFailedError as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: what was finished is kept, and the same command makes the rest", file=sys.stderr)
        return 130


def _parse(arguments: list[str]) -> Any:
    """Return the command that a command line asks for; help is answered on the way."""
    import tyro

    from train.options import COMMANDS

    _check_names(arguments)
    return tyro.extras.subcommand_cli_from_dict(
        COMMANDS,
        prog="python -m train",
        description=_DESCRIPTION,
        args=arguments,
        config=(tyro.conf.FlagCreatePairsOff,),
    )


def _print_anything() -> None:
    """Let signs that the terminal or the locale cannot show be written as escapes: no reason to fail."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _check_names(arguments: list[str]) -> None:
    """Raise ``ValueError`` at a command or an option that does not exist, with the nearest one that does."""
    from train.options import COMMANDS, option_names, option_spellings

    if not arguments or arguments[0] in ("-h", "--help"):
        return
    if arguments[0] not in COMMANDS:
        raise ValueError(
            f"command must be one of {', '.join(COMMANDS)}, got {arguments[0]!r}{did_you_mean(arguments[0], COMMANDS)}"
        )
    command = COMMANDS[arguments[0]]
    names = option_names(command)
    given = [argument.split("=")[0] for argument in arguments[1:]]
    for written in given:
        name = written.replace("_", "-")
        if name.startswith("--") and name not in names:
            raise ValueError(
                f"{arguments[0]} has no option {written}{did_you_mean(name, names)}; "
                f"python -m train {arguments[0]} --help lists them"
            )
    for long, *aliases in option_spellings(command).values():
        times = [name for name in given if name in aliases or name.replace("_", "-") == long]
        if len(times) > 1:  # the last would silently win
            raise ValueError(f"{long} must be given once, got {' and '.join(times)}: give all its values after one")
