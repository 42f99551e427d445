"""The same work to and from a bucket: a SeaweedFS of our own on this machine, over TLS for everybody: pgBackRest speaks
nothing else."""

import os
import shutil
import subprocess
from pathlib import Path

from peers import TUNED, Backstay, Hand, PgBackRest, Restic
from rows import Best, Row, say, stored_mb

from fix_buckets import BUCKET, OWNER, SeaweedFS, free_port
from fix_postgres import Server

REACH = (
    ', endpoint: "{url}", region: us-east-1, ca: {ca}, credentials: {{access_key_id: "${{env:AWS_ACCESS_KEY_ID}}", '
    'secret_access_key: "${{env:AWS_SECRET_ACCESS_KEY}}"}}'
)
PGBACKREST = """\
repo1-type=s3
repo1-path=/pgbackrest-{number}
repo1-s3-bucket={bucket}
repo1-s3-endpoint=127.0.0.1
repo1-s3-region=us-east-1
repo1-s3-uri-style=path
repo1-s3-key={key}
repo1-s3-key-secret={secret}
repo1-storage-host=127.0.0.1
repo1-storage-port={port}
repo1-storage-verify-tls=n"""


def rows(server: Server, folder: Path, rounds: int) -> list[Row]:
    folder = folder / "bucket"
    folder.mkdir()
    certificate, key = _certificate(folder)
    port = free_port()
    flags = (f"-s3.port.https={port}", f"-s3.cert.file={certificate}", f"-s3.key.file={key}")
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ |= {"AWS_ACCESS_KEY_ID": OWNER["access_key_id"], "AWS_SECRET_ACCESS_KEY": OWNER["secret_access_key"]}
    bucket = SeaweedFS(folder, *flags)
    try:
        bucket.start()
        bucket.make_bucket()
        return _rounds(server, folder, f"https://127.0.0.1:{port}", rounds)
    finally:
        bucket.end()


def _rounds(server: Server, folder: Path, url: str, rounds: int) -> list[Row]:
    backup, restore, to = Best(), Best(), folder / "restored"
    for number in range(rounds):
        for hand in _hands(server, folder, url, number):
            say(f"round {number + 1} of {rounds}: first backup to a bucket, and restore, by {hand.name}")
            hand.begin()
            backup.add(hand.name, hand.backup(), 0)
            restore.add(hand.name, hand.restore(to), stored_mb(to))
            shutil.rmtree(to)
    return [*backup.rows("first backup to S3", "backstay"), *restore.rows("restore from S3", "backstay")]


def _hands(server: Server, folder: Path, url: str, number: int) -> list[Hand]:
    ca = folder / "ca.pem"
    repo = PGBACKREST.format(
        number=number, bucket=BUCKET, port=url.rpartition(":")[2], key=OWNER["access_key_id"],
        secret=OWNER["secret_access_key"],
    )  # fmt: skip
    ours = f"s3://{BUCKET}/backstay-{number}"
    return [
        Backstay(server, folder / "ours", ours, REACH.format(url=url, ca=ca)),
        PgBackRest(server, folder / "tuned", "pgbackrest tuned", TUNED, repo),
        Restic(server, folder / "restic", f"s3:{url}/{BUCKET}/restic-{number}", str(ca)),
    ]


def _certificate(folder: Path) -> tuple[Path, Path]:
    """Of an authority that is made for this, beside it as `ca.pem`."""
    key, certificate, request = folder / "key.pem", folder / "certificate.pem", folder / "request.pem"
    names = folder / "names"
    names.write_text("subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
    new = ["openssl", "req", "-newkey", "rsa:2048", "-nodes"]
    for argv in (
        [*new, "-x509", "-days", "2", "-subj", "/CN=bench", "-keyout", folder / "ca.key", "-out", folder / "ca.pem"],
        [*new, "-subj", "/CN=127.0.0.1", "-keyout", key, "-out", request],
        ["openssl", "x509", "-req", "-in", request, "-CA", folder / "ca.pem", "-CAkey", folder / "ca.key",
         "-CAcreateserial", "-days", "2", "-extfile", names, "-out", certificate],
    ):  # fmt: skip
        subprocess.run(argv, check=True, capture_output=True)
    return certificate, key
