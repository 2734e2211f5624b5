"""The auditor's side: reading what came back and proving it. Nothing Linux-only is imported here."""
