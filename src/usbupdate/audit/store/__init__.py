"""The auditor's store: every log that ever came back, byte for byte, in one database.

Nothing outside this package may need SQLAlchemy: all else works without a store. Source: ADR 0018.
"""
