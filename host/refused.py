"""What the software device raises where the device would answer with a status."""

from __future__ import annotations

from rpaccel.spec.isa import Status


class RefusedError(Exception):
    """A query, or an access that a region refuses or that memory does not have."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.name)
        self.status = status
