"""Why an upload cannot go on: the answers that only uploads know."""

from __future__ import annotations

from groundplane.errors import GroundplaneError


class Gone(GroundplaneError):
    """The upload has expired, or its bytes were lost."""

    status = 410
    message = "The upload has expired. Begin a new one."


class Locked(GroundplaneError):
    """Another request is writing to the same upload."""

    status = 423
    message = "Another request is writing to this upload. Ask for its offset in a moment."


class NoRoom(GroundplaneError):
    """All uploads together are as large as they may become."""

    status = 507
    message = "There is no room for more uploads at the moment. Try again later."


class WrongChecksum(GroundplaneError):
    """What arrived is not what the client's checksum is of; none of it is kept."""

    status = 460
    message = "The bytes that arrived do not have the checksum of Upload-Checksum."
