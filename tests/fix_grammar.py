"""Texts made from EBNF, as `docs/reference/grammars.md` writes it: what a grammar allows, its parser has to read."""

import random
import re
from collections.abc import Callable, Mapping
from functools import partial

_TOKEN = re.compile(r'\s*("[^"]*"|\?[^?]*\?|[a-z][a-z-]*|[=|,;()\[\]{}])')
MOST_REPEATED = 3
Maker = Callable[[random.Random], str]


class Grammar:
    """All rules of a page. `said_in_words` makes texts for the parts between question marks, by how they begin."""

    def __init__(self, page: str, said_in_words: Mapping[str, Maker]) -> None:
        self._words = said_in_words
        self._rules: dict[str, Maker] = {}
        for block in re.findall(r"^```ebnf\n(.*?)^```", page, re.M | re.S):
            self._tokens = [match[1] for match in _TOKEN.finditer(block)]
            while self._tokens:
                name = self._take()
                assert self._take() == "=", f"{name} has no ="
                self._rules[name] = self._either()
                assert self._take() == ";", f"{name} does not end"

    def names(self) -> list[str]:
        return list(self._rules)

    def make(self, name: str, chance: random.Random) -> str:
        return self._rules[name](chance)

    def _take(self) -> str:
        return self._tokens.pop(0)

    def _either(self) -> Maker:
        ways = [self._row()]
        while self._tokens[0] == "|":
            self._take()
            ways.append(self._row())
        return lambda chance: chance.choice(ways)(chance)

    def _row(self) -> Maker:
        parts = [self._part()]
        while self._tokens[0] == ",":
            self._take()
            parts.append(self._part())
        return lambda chance: "".join(part(chance) for part in parts)

    def _part(self) -> Maker:
        token = self._take()
        if token in "([{":
            inner = self._either()
            assert self._take() == {"(": ")", "[": "]", "{": "}"}[token]
            fewest, most = {"(": (1, 1), "[": (0, 1), "{": (0, MOST_REPEATED)}[token]
            return lambda chance: "".join(inner(chance) for _ in range(chance.randint(fewest, most)))
        if token[0] == '"':
            return lambda _: token[1:-1]
        if token[0] == "?":
            said = token.strip("? ")
            return next(make for begins, make in self._words.items() if said.startswith(begins))
        return partial(self.make, token)
