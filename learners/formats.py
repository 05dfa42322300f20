"""The number of the format of what is written to disk, and the refusal of other numbers."""

from .. import __version__

FORMAT = 1  # of run folders, checkpoints and weights
STAMP = {"format": FORMAT, "version": __version__}  # what they carry


class FormatError(ValueError):
    """A file in a format that this version does not read."""


def check_format(path: object, stamp: object) -> None:
    """Checks the stamp that was found in a file.

    Args:
      path: Path of the file, for the message.
      stamp: Dict with `"format"` and `"version"`; without a format it counts as format 0.

    Raises:
      FormatError: for another format than `FORMAT`, naming the version that reads it.
    """
    found = stamp if isinstance(stamp, dict) else {}
    number = found.get("format", 0)
    if number != FORMAT:
        version = found.get("version", "0.1.0 before formats had numbers")
        raise FormatError(
            f"{path} has format {number}, and jax_agents {__version__} reads format {FORMAT}; "
            f"jax_agents {version} wrote it and reads it"
        )
