"""Incidents as they were seen: who commands, what was told, when it was over."""

from dataclasses import dataclass, replace
from datetime import datetime

from backstay.facts import (
    CommandTaken,
    DisasterDeclared,
    MessageSent,
    Noted,
    RecoveryDeclared,
    RunAttached,
)
from backstay.values import IncidentId, RunId


@dataclass(frozen=True, slots=True)
class IncidentSeen:
    """A declared disaster. Moments are by the journal's clock."""

    declared: DisasterDeclared
    at: datetime
    commands: tuple[tuple[datetime, CommandTaken], ...] = ()
    runs: tuple[RunId, ...] = ()
    messages: tuple[tuple[datetime, MessageSent], ...] = ()
    notes: tuple[tuple[datetime, Noted], ...] = ()
    recovered: RecoveryDeclared | None = None
    recovered_at: datetime | None = None

    @property
    def id(self) -> IncidentId:
        return self.declared.incident

    @property
    def commander(self) -> str | None:
        """Who commands now. None: nobody took command."""
        return self.commands[-1][1].by if self.commands else None


def incident_after(incident: IncidentSeen, fact: object, at: datetime) -> IncidentSeen:
    """The incident as it is seen after one more fact of its stream."""
    match fact:
        case CommandTaken():
            return replace(incident, commands=(*incident.commands, (at, fact)))
        case RunAttached(run):
            return replace(incident, runs=(*incident.runs, run))
        case MessageSent():
            return replace(incident, messages=(*incident.messages, (at, fact)))
        case Noted():
            return replace(incident, notes=(*incident.notes, (at, fact)))
        case RecoveryDeclared():
            return replace(incident, recovered=fact, recovered_at=at)
        case _:
            return incident
