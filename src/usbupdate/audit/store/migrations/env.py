"""What Alembic runs for each command: the migrations, on the connection and in the transaction of whoever asks."""

from __future__ import annotations

from alembic import context

from usbupdate.audit.store.schema import METADATA, VERSION_TABLE

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA, version_table=VERSION_TABLE)
context.run_migrations()
