"""Commands as a terminal sees them: exit code, one line of error, nothing that a terminal obeys."""

import contextlib
import io
import re

from benchmarks.attack.runner import described
from saccade.cli.main import main

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def run_command(arguments: list[str]) -> tuple[int, str, str]:
    """(exit code, what it printed, what it printed on stderr)."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    return code, out.getvalue(), err.getvalue()


def problem_of_command(arguments: list[str]) -> str | None:
    """Why a command did not end as commands do; None if it did."""
    try:
        code, out, err = run_command(arguments)
    except (Exception, SystemExit) as error:
        return described(error)
    return problem_of_output(code, out, err)


def problem_of_output(code: int, out: str, err: str) -> str | None:
    """Why a command did not end as commands do, by its exit code and what it printed; None if it did."""
    if code not in (0, 1, 2):
        return f"exit code {code}"
    if "Traceback" in err:
        return f"a traceback: {err[-300:]!r}"
    errors = [line for line in err.splitlines() if line.startswith("saccade: ")]
    if code and not errors and "Error" not in err and not out:
        return f"exit code {code} and no reason: {err[-200:]!r}"
    if CONTROL.search(out.replace("\r", "")) or CONTROL.search(err.replace("\r", "")):
        return f"control characters: {(CONTROL.search(out + err) or [''])[0]!r}"
    if any(line.startswith("saccade: forged") for line in (out + err).splitlines()):
        return "a line that a file name or a label forged"
    try:
        (out + err).encode()
    except UnicodeEncodeError:
        return "text that is no UTF-8"
    return None
