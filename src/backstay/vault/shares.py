"""A secret as words on several sheets of paper: any few of them give it back, and fewer say nothing (SLIP-39).

One group, no passphrase of its own. The 32 bytes are the master secret, so that any program that knows SLIP-39 joins
them too; `Keyring.of` makes the key from it.
"""

from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING

from backstay.errors import ToolMissing, WrongShares
from backstay.values import count
from backstay.vault.keyring import SECRET_SIZE

if TYPE_CHECKING:
    from shamir_mnemonic.share import Share

WORDS = 33
"""Words on each sheet, for 32 bytes."""
MOST = 16


def split(secret: bytes, shares: int, needed: int) -> list[str]:
    """The words of each share. Raises WrongShares for numbers that make no sense, ToolMissing."""
    assert len(secret) == SECRET_SIZE
    if not 2 <= needed <= shares <= MOST:
        raise WrongShares(
            f"{needed} of {shares} is no way to share a key",
            detail=f"at least 2 are needed, and there are at most {MOST}",
            hint="a usual choice: --shares 5 --needed 3",
        )
    mnemonic = _library()
    return mnemonic.generate_mnemonics(1, [(needed, shares)], secret)[0]


def needed_by(words: str, number: int = 1) -> tuple[int, str]:
    """How many shares of its kind are needed, and what they have in common: shares of two keys differ in it. Raises
    WrongShares for words that are no share; `number` says which of several it is."""
    share = _share(words, number)
    common = f"{share.identifier}.{share.iteration_exponent}.{share.group_count}.{share.group_threshold}"
    return share.member_threshold, f"{common}.{share.member_threshold}"


def join(shares: Sequence[str]) -> bytes:
    """The secret. Raises WrongShares: which share is wrong, and how, without its words; ToolMissing."""
    mnemonic = _library()
    read = [_share(words, number) for number, words in enumerate(shares, start=1)]
    if not read:
        raise WrongShares("no share was given", hint="type the words of each sheet, one sheet on a line")
    kinds = [needed_by(words, number) for number, words in enumerate(shares, start=1)]
    if odd := [number for number, kind in enumerate(kinds, start=1) if kind != kinds[0]]:
        raise WrongShares(
            f"share {odd[0]} belongs to another key than share 1",
            detail="the sheets of one key carry the same number at their top",
            hint="sort the sheets, and begin again",
        )
    places = [share.index for share in read]
    if twice := [number for number, place in enumerate(places, start=1) if place in places[: number - 1]]:
        raise WrongShares(f"share {twice[0]} was given twice", hint="each sheet counts once: take another one")
    if len(read) < (needed := kinds[0][0]):
        raise WrongShares(
            f"{count(len(read), 'share')} of the {needed} that are needed: too few",
            detail="fewer than are needed say nothing about the key, to nobody",
            hint=f"find {needed - len(read)} more of the sheets",
        )
    try:
        secret = mnemonic.combine_mnemonics(list(shares[:needed]))
    except mnemonic.MnemonicError as error:
        raise WrongShares("these shares do not fit together", detail=str(error)) from None
    if len(secret) != SECRET_SIZE:
        raise WrongShares("these are shares of something else than a key of Backstay")
    return secret


def _share(words: str, number: int) -> "Share":
    from shamir_mnemonic.share import Share
    from shamir_mnemonic.wordlist import WORDLIST

    mnemonic = _library()
    typed = words.lower().split()
    unknown = [str(place) for place, word in enumerate(typed, start=1) if word not in WORDLIST]
    if unknown:
        raise WrongShares(
            f"share {number} has words that are in no share: word {', '.join(unknown[:5])}",
            detail="each word is one of 1,024, and its first four letters are its own",
            hint="compare them with the sheet, letter by letter",
        )
    try:
        return Share.from_mnemonic(" ".join(typed))
    except mnemonic.MnemonicError:
        raise WrongShares(
            f"share {number} is not what was written on its sheet",
            detail=f"{count(len(typed), 'word')}, and a sheet has {WORDS}; its last words check the others",
            hint="a word is missing, doubled, or another one than on the sheet",
        ) from None


def _library() -> ModuleType:
    try:
        import shamir_mnemonic
    except ImportError:
        raise ToolMissing(
            "the Python package 'shamir-mnemonic' is not installed here",
            detail="shares on paper need it",
            hint="in Backstay's clone: pip install '.[keys]'",
        ) from None
    return shamir_mnemonic
