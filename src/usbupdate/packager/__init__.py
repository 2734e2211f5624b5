"""The release engineer's side: keys, the repository, bundles and sticks. Nothing Linux-only is imported here."""
