"""Text to Plan, or every problem at once.

Reading goes in steps, each of which finds all that is wrong at its own level: `syntax` makes nodes with places out of
YAML, `fragments` lays them over what the plan extends and over the built-in scenarios, `sections` declare what may
stand where and build the words of `backstay.plan`, `secrets` and `meaning` look at the whole. A problem never stops the
others from being found: an operator edits the file once, not nine times.

A plan does not know where it lies, so its digest is the same everywhere. Paths in it (vaults, data, pid files, working
folders, templates) are relative to the folder of the plan file, also where a fragment says them; who opens them joins
the two. The digest is that of the file's bytes; where the plan extends others, that of `kept`.
"""

from dataclasses import replace
from pathlib import Path

from backstay.config.fragments import as_one_file, whole, with_built_in
from backstay.config.meaning import wrong_promises
from backstay.config.nodes import Entries, Node, Place
from backstay.config.nodes import Problem as Problem
from backstay.config.reading import At, Bad, Reading
from backstay.config.reference import reference as reference
from backstay.config.reference import schema as schema
from backstay.config.remarks import remarks as remarks
from backstay.config.secrets import refuse_literal_secrets
from backstay.config.sections.whole import PLAN
from backstay.config.syntax import LONGEST_TEXT_BYTES, Unreadable, decoded
from backstay.errors import AccessDenied, PlanInvalid, PlanMissing
from backstay.plan import Plan
from backstay.values import count, digest_of


def load(path: Path | str) -> Plan:
    """The plan in a file. Raises PlanMissing, AccessDenied or PlanInvalid, whose detail lists every problem."""
    return load_kept(path)[0]


def load_kept(path: Path | str) -> tuple[Plan, bytes]:
    """The plan in a file, and the same plan as one file whatever it extends: what a run keeps. `parse` of that gives
    the same plan with the same digest. Raises like `load`."""
    data = _bytes_of(Path(path))
    try:
        text = decoded(data, str(path))
    except Unreadable as error:
        raise _invalid(str(path), [error.problem]) from None
    return _checked(text, str(path))


def kept(path: Path | str) -> bytes:
    """The second half of `load_kept`."""
    return load_kept(path)[1]


def parse(text: str, name: str) -> Plan:
    """The plan in a text; `name` stands in problems, and `extends` is relative to its folder. Raises PlanInvalid."""
    return _checked(text, name)[0]


def problems(text: str, name: str) -> list[Problem]:
    """Everything that is wrong with a plan, in the order of the file. Empty: it is a good plan."""
    return _read(text, name)[1]


def _checked(text: str, name: str) -> tuple[Plan, bytes]:
    plan, found, data = _read(text, name)
    if plan is None or found:
        raise _invalid(name, found)
    return plan, data


def _bytes_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(LONGEST_TEXT_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise PlanMissing(
            f"there is no plan at {path}", hint="`backstay init` writes one; `--plan FILE` names another"
        ) from None
    except IsADirectoryError:
        raise PlanMissing(f"{path} is a folder, not a plan", hint="name the file, like backstay.yaml") from None
    except PermissionError:
        raise AccessDenied(f"the plan {path} cannot be read: permission denied") from None


def _read(text: str, name: str) -> tuple[Plan | None, list[Problem], bytes]:
    """The plan as far as it could be read, every problem in order, and the text that is kept."""
    reading = Reading()
    try:
        tree = whole(text, name, reading.problems, _limited)
    except Unreadable as error:
        return None, [*reading.problems, error.problem], b""
    data = as_one_file(tree.root) if tree.extended else text.encode()
    root = tree.root
    if not isinstance(root, Entries):
        _not_a_mapping(reading, root)
        return None, reading.problems, data
    reading.instead = _instead(root)
    plan = PLAN.read(At(reading, with_built_in(root), ()))
    refuse_literal_secrets(reading, root)
    if not isinstance(plan, Bad):
        sound = [w for w in wrong_promises(plan) if all(reading.is_sound(path) for path in w.because)]
        for wrong in sound:
            reading.problem(reading.place_of(root, wrong.path), wrong.path, wrong.message)
    reading.compare_names()
    order = {name: -1}
    found = sorted(set(reading.problems), key=lambda p: (order.get(p.file, 0), p.file, p.line, p.column, p.message))
    return None if isinstance(plan, Bad) else replace(plan, digest=digest_of(data)), found, data


def _limited(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(LONGEST_TEXT_BYTES + 1)


def _instead(root: Entries) -> Place:
    """Where a problem with a built-in scenario is shown: at the components that it is about."""
    entry = root.entries.get("components") or root.entries.get("scenarios")
    return entry[0].place if entry else root.place


def _not_a_mapping(reading: Reading, root: Node) -> None:
    at = At(reading, root, ())
    if at.shape == "nothing":
        at.wrong("the plan is empty: `backstay init` writes one to begin with")
    else:
        at.wrong(f"a plan is a mapping (`key: value` lines), not {at.shape}")


def _invalid(name: str, found: list[Problem]) -> PlanInvalid:
    detail = "\n".join(str(problem) for problem in found)
    hint = "mend the lines that are named, then `backstay plan check`; nothing was started"
    return PlanInvalid(f"{name} has {count(len(found), 'problem')}", detail=detail, hint=hint)
