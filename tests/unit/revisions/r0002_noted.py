"""A later form of the store than any that there is, for the tests of upgrading."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002later"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("receipts", sa.Column("noted", sa.Text))
