"""What stands in a log for receipts that the office has acknowledged is kept too."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column; copies from before had no such file, and their rows stay as they are."""
    if op.get_bind().dialect.name == "sqlite":
        op.execute(
            "ALTER TABLE copies ADD COLUMN acknowledged BLOB CONSTRAINT fk_copies_acknowledged REFERENCES files (digest)"
        )
    else:
        op.add_column("copies", sa.Column("acknowledged", sa.LargeBinary(32), comment="of acknowledged"))
        op.create_foreign_key("fk_copies_acknowledged", "copies", "files", ["acknowledged"], ["digest"])
