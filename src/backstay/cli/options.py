"""What every verb understands, declared once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


@Parameter(name="*")
@dataclass(frozen=True)
class Common:
    """Where things are, and how the answer is printed."""

    plan: Annotated[Path | None, Parameter(env_var="BACKSTAY_PLAN")] = None
    """The plan file. Default: backstay.yaml here or in a folder above."""

    key: Annotated[Path | None, Parameter(env_var="BACKSTAY_KEY")] = None
    """The key file. Default: backstay.key beside the plan."""

    state: Annotated[Path | None, Parameter(env_var="BACKSTAY_STATE")] = None
    """The folder of the journal. Default: .backstay beside the plan."""

    json: Annotated[bool, Parameter(negative="")] = False
    """Print JSON on standard output, errors as JSON on standard error."""


HERE = Common()

VaultAddress = Annotated[str | None, Parameter(name="--vault")]
"""One vault by its address, without a plan."""


class Failed(Exception):
    """Everything was said already; only the exit code is left."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code
