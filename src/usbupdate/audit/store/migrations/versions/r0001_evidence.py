"""The tables of evidence, what they refuse, and the table to ask by."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_EVIDENCE: Final = ("lines", "files", "copies", "runs", "origins")
_REFUSAL: Final = "evidence is never changed or removed"


def upgrade() -> None:
    """Make them."""
    digest = sa.LargeBinary(32)
    op.create_table(
        "lines",
        sa.Column("digest", digest, nullable=False, comment="of the line, without its line feed"),
        sa.Column("previous", digest, comment="of the line before it, as the line itself says; nothing if it is no receipt"),
        sa.Column("line", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_lines"),
    )
    op.create_table(
        "files",
        sa.Column("digest", digest, nullable=False),
        sa.Column("contents", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_files"),
    )
    op.create_table(
        "copies",
        sa.Column("digest", digest, nullable=False, comment="over all other columns; see `evidence.copy_digest`"),
        sa.Column("device", sa.Text, nullable=False, comment="whose log it claims to be"),
        sa.Column("folder", sa.Text, comment="the device that its folder named, if it lay in one"),
        sa.Column("identity", digest, comment="of identity.json"),
        sa.Column("checkpoint", digest, comment="of checkpoint"),
        sa.Column("receipts", digest, comment="of the whole receipts.jsonl as it came"),
        sa.Column("rest", digest, comment="of what stood behind the last line feed"),
        sa.Column("unreadable", sa.Text, nullable=False, comment="why a file that was there could not be read, by name; JSON"),
        sa.ForeignKeyConstraint(["identity"], ["files.digest"], name="fk_copies_identity"),
        sa.ForeignKeyConstraint(["checkpoint"], ["files.digest"], name="fk_copies_checkpoint"),
        sa.ForeignKeyConstraint(["rest"], ["files.digest"], name="fk_copies_rest"),
        sa.PrimaryKeyConstraint("digest", name="pk_copies"),
    )
    op.create_index("ix_copies_device", "copies", ["device"])
    op.create_table(
        "runs",
        sa.Column("copy", digest, nullable=False),
        sa.Column("ordinal", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("last", digest, nullable=False),
        sa.Column("length", sa.Integer, nullable=False),
        sa.ForeignKeyConstraint(["copy"], ["copies.digest"], name="fk_runs_copy"),
        sa.ForeignKeyConstraint(["last"], ["lines.digest"], name="fk_runs_last"),
        sa.PrimaryKeyConstraint("copy", "ordinal", name="pk_runs"),
    )
    op.create_table(
        "origins",
        sa.Column("copy", digest, nullable=False),
        sa.Column("source", sa.Text, nullable=False, comment="where it lay"),
        sa.Column("importer", sa.Text, nullable=False, comment="who imported it, and on which computer"),
        sa.Column("imported", sa.Text, nullable=False, comment="when that was first done"),
        sa.Column("program", sa.Text, nullable=False, comment="the version of usbupdate"),
        sa.ForeignKeyConstraint(["copy"], ["copies.digest"], name="fk_origins_copy"),
        sa.PrimaryKeyConstraint("copy", "source", "importer", name="pk_origins"),
    )
    op.create_table(
        "receipts",
        sa.Column("device", sa.Text, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("line", digest, nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("wall", sa.Text, nullable=False),
        sa.Column("clock", sa.Text, nullable=False),
        sa.Column("boot_id", sa.Text, nullable=False),
        sa.Column("monotonic_ms", sa.BigInteger, nullable=False),
        sa.Column("from_version", sa.Text),
        sa.Column("from_sequence", sa.BigInteger),
        sa.Column("to_version", sa.Text),
        sa.Column("to_sequence", sa.BigInteger),
        sa.Column("bundle", sa.Text),
        sa.Column("reason", sa.Text),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.Column("duration_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("device", "number", "line", name="pk_receipts"),
    )
    for columns in (["event", "wall"], ["to_version", "wall"]):
        op.create_index(f"ix_receipts_{'_'.join(columns)}", "receipts", columns)
    if op.get_bind().dialect.name == "sqlite":
        _refuse_in_sqlite()
    else:
        _refuse_in_postgresql()


def _refuse_in_sqlite() -> None:
    for table in _EVIDENCE:
        for change in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{change.lower()} BEFORE {change} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
            )


def _refuse_in_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION refuse_change_of_evidence() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{_REFUSAL}'; END $$"
    )
    for table in _EVIDENCE:
        op.execute(
            f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_evidence()"
        )
