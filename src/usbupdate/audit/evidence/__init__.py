"""One device's evidence in one archive, for a third party who has neither us nor a reason to trust us."""
