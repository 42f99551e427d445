"""Over the log between the last good point and the first bad one: the moment itself, as exactly as was asked."""

from datetime import timedelta
from pathlib import Path

from backstay.app import protecting
from backstay.app.choosing import Wanted, seek
from backstay.app.home import Home
from backstay.facts import PointTaken
from backstay.values import VaultName
from backstay.verify.bisect import Found
from fix_pitr import CONF, Written
from fix_postgres import MakePostgres
from fix_vaults import Shop, screen

PLAN = """\
backstay: 1
system: {name: shop, title: Shop}
objectives: {rto: 1h, rpo: 24h}
sites:
  primary: {}
vaults:
  local: {url: ./local, keep: 30d}
components:
  database:
    postgres: {url: "${file:./dsn}", data: %s, way: local, bin: %s}
    protect: {full: "02:00"}
people:
  me: {name: Me, email: me@example.com}
declaration: {authority: {alone: [me]}}
"""


PRECISION = timedelta(milliseconds=20)
"""The rows between the two points are written in a fifth of a second, where the machine is quiet."""


def take(home: Home) -> None:
    (came,) = protecting.backup(home, (), screen)
    assert isinstance(came.result, PointTaken), came.result


def test_the_moment_of_a_corruption_is_found_over_the_log(tmp_path: Path, make_postgres: MakePostgres) -> None:
    server = make_postgres(conf=CONF)
    shop = Shop(tmp_path / "shop")
    shop.folder.mkdir()
    (shop.folder / "dsn").write_text(server.dsn())
    (shop.folder / "dsn").chmod(0o600)
    (shop.folder / "backstay.yaml").write_text(PLAN % (server.data, server.bin_dir))
    shop.init()
    written = Written(server, tmp_path)
    written.create()
    written.write(5)
    take(shop.home())
    written.write(20)
    with server.connect() as db:
        db.execute("UPDATE beat SET text = 'spoilt' WHERE n = 3")
    written.write(20)
    take(shop.home())
    written.keep_log(shop.home().vault(VaultName("local")))
    last_right, first_wrong = written.commits[24].at, written.commits[25].at
    wanted = Wanted("database", "SELECT count(*) FROM beat WHERE text = 'spoilt'", "= 0", precision=PRECISION)
    sought = seek(shop.home(), wanted, screen)
    assert isinstance(sought.ended, Found)
    assert sought.moments is not None
    assert sought.over is not None
    assert sought.moments.bad - sought.moments.good <= PRECISION
    assert sought.moments.good < first_wrong
    assert sought.moments.bad > last_right
    assert sought.restores == 2 + sought.over.restores
    span = sought.points[1].moment - sought.points[0].moment
    assert sought.over.restores <= (span / PRECISION).__ceil__().bit_length()
    assert f"--point database={sought.points[0].id}" in sought.commands[0]
    assert " --at 20" in sought.commands[0]
    assert sought.said[1].startswith("over its log it was still right at 20")
