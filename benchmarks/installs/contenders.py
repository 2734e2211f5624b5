"""Everybody who installs, in the order in which they take turns."""

from __future__ import annotations

from typing import Final

from installs import casync, copiers, insertion, mender, product, rauc, swupdate

CONTENDERS: Final = (
    *product.CONTENDERS,
    *insertion.CONTENDERS,
    *copiers.CONTENDERS,
    *rauc.CONTENDERS,
    *swupdate.CONTENDERS,
    *mender.CONTENDERS,
    *casync.CONTENDERS,
)
