"""The mistakes of a user, each said in one line."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

Result = TypeVar("Result")


class Terminated(KeyboardInterrupt):
    """Raised when SIGTERM has come, as Python raises KeyboardInterrupt for SIGINT."""


def interrupt(number: int, frame: Any = None) -> NoReturn:
    """Raises what belongs to SIGINT or SIGTERM; a handler of both."""
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


class UserError(Exception):
    """A mistake that a user can put right; the message says how."""


def checked(function: Callable[..., Result], *arguments: Any) -> Result:
    """Calls a function that checks a user's input; its errors become one line and exit status 2."""
    from ..experiments.trained.run_folder import RunFolderError
    from ..learners.checkpoints import CheckpointError

    try:
        return function(*arguments)
    except (
        ValueError,
        TypeError,
        ImportError,
        FileNotFoundError,
        CheckpointError,
        RunFolderError,
    ) as error:
        raise UserError(" ".join(str(error).split())) from error


def read_json(text: str | None, option: str) -> dict[str, Any]:
    """Returns the object that an option gives as JSON, or as the name of a JSON file.

    Args:
      text: Value of the option; {} is returned for None.
      option: Name of the option, for errors.

    Raises:
      UserError: if the value is neither.
    """
    if text is None:
        return {}
    try:
        value = json.loads(text if text.lstrip().startswith("{") else Path(text).read_text())
    except ValueError as error:
        raise UserError(
            f"{option}: not JSON ({error}); quote it for the shell, as in {option} '{{\"key\": 1}}'"
        ) from error
    except OSError as error:
        raise UserError(
            f"{option}: expected JSON such as '{{\"key\": 1}}' or a JSON file, "
            f"got {text!r} ({error.strerror})"
        ) from error
    if not isinstance(value, dict):
        raise UserError(f"{option}: expected a JSON object, got {text!r}")
    return value


def at_least(least: int, value: int | None, option: str) -> None:
    """Checks that the number of an option is not too small.

    Args:
      least: Smallest number.
      value: Value of the option; None if it was not given.
      option: Name of the option, for errors.

    Raises:
      UserError: if the number is smaller.
    """
    if value is not None and value < least:
        raise UserError(
            f"{option}: expected {'0 or more' if least == 0 else f'at least {least}'}, got {value}"
        )
