"""`backstay vault`: what is done with a vault as a whole. Other chapters add their verbs to `VAULT`."""

from cyclopts import App

VAULT = App(name="vault", help="Look after the vaults as a whole.\n\nExample: `backstay vault check`")


def register(app: App) -> None:
    app.command(VAULT)
