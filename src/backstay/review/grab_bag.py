"""The first page of the grab bag: for somebody who has this folder, a vault, and has never seen Backstay.

Everything that has to be typed stands there as it has to be typed. What the plan cannot know (where a share of the key
lies, who has the safe's number) has a line to be filled in by hand, on paper.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from backstay.history import History
from backstay.plan import Person, Plan
from backstay.review import people, planned
from backstay.review.tree import (
    Block,
    Code,
    Document,
    Listing,
    Mark,
    Notice,
    Numbered,
    Pairs,
    Paragraph,
    Section,
    Strong,
    Table,
    Text,
)
from backstay.values import ComponentName, count, listed, say_moment, say_size

LINE = "_" * 40
"""To be filled in by hand."""


@dataclass(frozen=True, slots=True)
class BaggedVault:
    name: str
    address: str
    root: str
    """Sixteen digits of the key that made it."""
    head: str
    """`EPOCH/NUMBER:DIGEST` of the newest spine; empty: none could be read."""
    sealed: str
    """When, and over how many facts; or why not."""
    newest: tuple[tuple[ComponentName, str, str], ...]
    """Of each component the newest point, and how new its data is."""


@dataclass(frozen=True, slots=True)
class BaggedKey:
    who: str
    """An address, or what a passphrase is called."""
    what: str
    """What it may do."""


@dataclass(frozen=True, slots=True)
class Bag:
    made: datetime
    version: str
    platform: str
    extras: tuple[str, ...]
    installer: str
    """The name of the wheel of pip."""
    vaults: tuple[BaggedVault, ...]
    keys: tuple[BaggedKey, ...]
    missing: tuple[str, ...]
    """What would be needed and is not in the bag."""
    files: tuple[tuple[str, int], ...]
    """Name and bytes, wheels not counted one by one."""
    key_inside: bool
    signer: str


def grab_bag(plan: Plan, history: History, bag: Bag) -> Document:
    return Document(
        title=f"{plan.system.title}: bring it back",
        subtitle="For whoever holds this folder on the worst night, and may never have seen it before.",
        facts=(
            ("Made", say_moment(bag.made)),
            ("Good for", bag.platform),
            ("Plan", Code(plan.digest.removeprefix("sha256:")[:16])),
            ("Signed by", Code(bag.signer)),
        ),
        blocks=(
            *_warnings(bag),
            Section("1. Before you type", _before(plan, bag)),
            Section("2. Begin on an empty machine", _begin(bag)),
            Section("3. Bring it back", _bring(plan)),
            Section("4. Whom to call", (_callers(plan), *_only_blocks(people.contacts(plan)))),
            *_only_sections(people.declaration(plan)),
            Section("5. The vaults", _vaults(bag)),
            Section("6. The keys", _keys(bag)),
            planned.procedures(plan, history),
            Section("What is in this folder", _contents(bag)),
        ),
        footer=(("Backstay", bag.version), ("The whole plan", "plan/document.html and plan/backstay.yaml")),
        contents=False,
    )


def _warnings(bag: Bag) -> list[Block]:
    found: list[Block] = []
    if bag.key_inside:
        said = "Whoever has this folder can read every backup. Keep it like the key itself."
        found.append(Notice(Mark("fail", "The key is inside"), said))
    if bag.missing:
        found.append(Notice(Mark("warn", "Not in this bag"), listed(bag.missing)))
    return found


def _before(plan: Plan, bag: Bag) -> tuple[Block, ...]:
    key = "the key, which is in this folder" if bag.key_inside else "the key (section 6 says where it may be)"
    return (
        Numbered(
            (
                "Nothing on this page deletes anything. A step that replaces data asks first, and wants a name typed.",
                ("Tell somebody that you have begun: section 4. If nobody may declare a disaster, ask who may.",),
                f"You need: a machine with {bag.platform}; one of the vaults (section 5); {key}.",
                ("See that this folder is whole: ", Code("sha256sum --quiet -c SHA256SUMS"), " prints nothing."),
            )
        ),
        Paragraph(f"What it is about: {plan.system.purpose}") if plan.system.purpose else Paragraph(
            f"What it is about: {listed(f'{one.name} ({one.kind})' for one in plan.components.values())}."
        ),
    )  # fmt: skip


def _begin(bag: Bag) -> tuple[Block, ...]:
    extras = f"[{','.join(bag.extras)}]" if bag.extras else ""
    key = '"$BAG/key/backstay.key"' if bag.key_inside else "PATH-OF-THE-KEY"
    newest = next((one for one in bag.vaults if one.head), None)
    vault = bag.vaults[0].address if len(bag.vaults) == 1 else "ADDRESS-OF-A-VAULT"
    head = f" \\\n    --head {newest.head}" if newest else ""
    return (
        Paragraph("In this folder, in a terminal. No network is needed but the way to the vault."),
        Listing(
            'BAG="$PWD"\n'
            'python3 -m venv --without-pip "$HOME/backstay-venv"\n'
            f'"$HOME/backstay-venv/bin/python" "$BAG/wheels/{bag.installer}/pip" install \\\n'
            f"    --no-index --find-links \"$BAG/wheels\" 'backstay{extras}'\n"
            'export PATH="$HOME/backstay-venv/bin:$PATH"'
        ),
        Paragraph("Is this folder what was put together, and by whom? (The signer is at the top of this page.)"),
        Listing('backstay grab-bag --check "$BAG"'),
        Paragraph("Then bring back plan, journal and points, into a new folder:"),
        Listing(f"mkdir -p ~/recovery && cd ~/recovery\nbackstay bootstrap --vault {vault} \\\n    --key {key}{head}"),
        Paragraph(
            "If it says E79, that vault is older than this page: try another one. What it marks with ? could not be "
            "verified; read it, and go on. The last lines say what to type next."
        ),
    )


def _bring(plan: Plan) -> tuple[Block, ...]:
    by = plan.authority.alone[0] if plan.authority.alone else "NAME"
    rows: list[tuple[Text, ...]] = []
    for scenario in plan.scenarios.values():
        command: Text = (
            Code(f"backstay recover {scenario.name} --by {by}")
            if scenario.procedure
            else Mark("warn", "the plan has no recovery for it")
        )
        rows.append((scenario.title, scenario.strategy or "not said", command))
    return (
        Table("What happened, and what to type", ("Disaster", "What is done", "Command"), tuple(rows)),
        Paragraph(
            ("Stop at any moment (Ctrl-C). ", Code("backstay resume"), " looks what has happened, and goes on. ",
             Code("backstay status"), " says how things stand.")
        ),
        Paragraph(
            ("With nothing but a vault and a key, without the plan: ",
             Code("backstay restore COMPONENT --to FOLDER --vault ADDRESS --key KEY"),
             ". Without Backstay: ", Code("python3 backstay-extract.py --help"), ".")
        ),
    )  # fmt: skip


def _callers(plan: Plan) -> Block:
    rows = tuple(_caller(person) for person in plan.people.values())
    return Table("People", ("Name", "Telephone", "E-mail"), rows, "The plan names nobody.")


def _caller(person: Person) -> tuple[Text, ...]:
    # A number that the plan refers to is not printed: it may be one that nobody else should have.
    phone = str(person.phone) if person.phone and not person.phone.is_secret() else LINE
    return person.name, phone, person.email or LINE


def _only_blocks(section: Section) -> tuple[Block, ...]:
    return tuple(block for block in section.blocks if not (isinstance(block, Section) and block.title == "People"))


def _only_sections(section: Section) -> tuple[Block, ...]:
    """Who may declare, and when; how it is announced stands in the document."""
    kept = tuple(b for b in section.blocks if isinstance(b, Section) and b.title != "Declaration Process")
    return (Section("Who may declare a disaster", kept),)


def _vaults(bag: Bag) -> tuple[Block, ...]:
    blocks: list[Block] = [
        Paragraph(
            "Any one of them is enough. The head is what was sealed last when this page was made: a vault that does "
            "not have it was set back, or is another one."
        )
    ]
    for one in bag.vaults:
        newest = listed(f"{name} {point} (data until {until})" for name, point, until in one.newest) or "no point yet"
        blocks += [
            Section(
                one.name,
                (
                    Pairs(
                        (
                            ("Address", Code(one.address)),
                            ("Head", Code(one.head) if one.head else Mark("warn", "none could be read")),
                            ("Sealed", one.sealed),
                            ("Made by the key", Code(one.root)),
                            ("Newest points", newest),
                        )
                    ),
                ),
            )
        ]
    return tuple(blocks)


def _keys(bag: Bag) -> tuple[Block, ...]:
    rows = tuple((Code(one.who), one.what, LINE) for one in bag.keys)
    inside = "A copy of one is in this folder, as key/backstay.key." if bag.key_inside else "None is in this folder."
    return (
        Paragraph(f"A key is a small file. {inside} Write down where each of them lies, and each share of one:"),
        Table("Who can open the vaults", ("Key", "It may", "Where it is, and who can get it"), rows, "Nobody knows."),
        Pairs(tuple((f"Share {number}", LINE) for number in range(1, 6))),
    )


def _contents(bag: Bag) -> tuple[Block, ...]:
    rows = tuple((Code(name), say_size(size)) for name, size in bag.files)
    whole = sum(size for _, size in bag.files)
    return (
        Table("Files", ("Name", "Size"), rows),
        Paragraph(
            (f"{count(len(bag.files), 'entry')}, {say_size(whole)}. Every file has its SHA-256 in ",
             Code("SHA256SUMS"), ", and that is signed: ", Code("SHA256SUMS.sig"), ". ",
             Strong("Make this folder anew"), " when the plan, the vaults or the keys change, and every quarter.")
        ),
    )  # fmt: skip


def table_of_heads(vaults: Sequence[BaggedVault]) -> list[dict[str, str]]:
    """For `heads.json`."""
    return [{"vault": one.name, "address": one.address, "head": one.head, "sealed": one.sealed} for one in vaults]
