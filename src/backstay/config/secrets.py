"""Secrets written into a plan are refused: a plan is read by many people, and is kept for years.

This looks at texts and keys alone, wherever they stand, so that it finds a password also in a part of the plan that
has other problems. No message ever quotes what was found.
"""

import re
from collections.abc import Iterator

from backstay.config.nodes import Entries, Items, Node, Path, Text
from backstay.config.reading import Reading

_INSTEAD = "write a reference like ${env:NAME} or ${file:PATH}"
_SECRET_KEY = re.compile(
    r"(^|[_-])(password|passwd|passphrase|pwd|pass|token|secret|bearer|api[_-]?key|access[_-]?key|private[_-]?key"
    r"|secret[_-]?key|credentials?)$"
)
_SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", "x-api-key", "x-auth-token"})
# Both begin with fixed characters, so that a long text costs no more than its length.
_IN_ADDRESS = re.compile(r"://[^/\s:@]*:(?P<secret>[^/\s@]+)@")
_IN_ASSIGNMENT = re.compile(
    r"(?:password|passwd|pwd|token|secret|api_?key|access_?key)=(?P<secret>[^&\s;]+)", re.IGNORECASE
)
_SHAPES = (
    (re.compile(r"AGE-SECRET-KEY-1[0-9A-Z]", re.IGNORECASE), "a secret key of age"),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"), "a private key"),
    (re.compile(r"https://hooks\.slack\.com/(services|workflows)/\w"), "the address of a webhook, which is a secret,"),
    (re.compile(r"https://(discord|discordapp)\.com/api/webhooks/\w"), "the address of a webhook, which is a secret,"),
    (re.compile(r"\b(ghp|gho|ghs|ghu|glpat|xoxb|xoxp|xapp)[_-][A-Za-z0-9-]{16,}"), "a token"),
    (re.compile(r"\b(AKIA|ASIA)[0-9A-Z]{16}\b"), "an access key of AWS"),
)
_QUESTIONS = ("sql", "newest")
"""In SQL `token=` compares."""
_REFERENCE = re.compile(r"(?<!\$)\$\{[^}]*\}")
_STANDS_FOR = "\x00"


def refuse_literal_secrets(reading: Reading, root: Node) -> None:
    """Note every place at which a secret stands instead of a reference to one."""
    for path, key, node in _texts(reading, root, ()):
        found = _literal_secret(key, node)
        if found is not None:
            reading.problem(node.place, path, f"{found} is written here: {_INSTEAD}")


def _texts(reading: Reading, node: Node, path: Path) -> Iterator[tuple[Path, str, Text]]:
    match node:
        case Text():
            key = next((part for part in reversed(path) if isinstance(part, str)), "")
            yield path, key, node
        case Items():
            for number, item in enumerate(node.items):
                yield from _texts(reading, item, (*path, number))
        case Entries():
            for name, (_, value) in node.entries.items():
                yield from _texts(reading, value, (*path, reading.meant.get((*path, name), name)))


def _literal_secret(key: str, node: Text) -> str | None:
    text = _REFERENCE.sub(_STANDS_FOR, node.text)
    for shape, what in _SHAPES:
        if shape.search(text):
            return what
    for pattern in (_IN_ADDRESS, _IN_ASSIGNMENT):
        if pattern is _IN_ASSIGNMENT and key in _QUESTIONS:
            continue
        if any(_STANDS_FOR not in found.group("secret") for found in pattern.finditer(text)):
            return "a password" if pattern is _IN_ADDRESS else "a secret"
    lowered = key.lower()
    if (_SECRET_KEY.search(lowered) or lowered in _SECRET_HEADERS) and not node.is_empty:
        is_saved = text.startswith("$.") or text == "$"  # `save: {token: $.token}` names a place in an answer
        if _STANDS_FOR not in text and not is_saved and text not in ("true", "false", ""):
            return "a secret"
    return None
