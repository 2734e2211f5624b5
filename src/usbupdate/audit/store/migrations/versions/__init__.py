"""The steps. One that was ever released is never changed; none touches a row of evidence.

A step that changes the columns of `receipts` makes that table anew and empty, and `usbupdate audit store rebuild` fills it.
"""
