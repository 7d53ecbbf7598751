"""What systemd is told of a server: that it is ready, that it stops, what it does; over the socket of NOTIFY_SOCKET.

The protocol is sd_notify(3): a datagram of VARIABLE=value lines. sdnotify, the one library of it without C, has not
changed since 2017, writes to a socket that may block the event loop, and is no shorter.
"""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import structlog

VARIABLE = "NOTIFY_SOCKET"


class Notifier:
    """Tells the service manager that started this process; without one it tells nobody.

    What cannot be delivered is logged and no more: systemd then ends the service by its own deadline, and says so.
    """

    def __init__(self, address: str, logger: structlog.stdlib.BoundLogger) -> None:
        self._address = address  # the variable's value; "" is without a manager
        self._logger = logger

    def ready(self, status: str) -> None:
        """It serves: what waits for this unit may start."""
        self._tell(f"READY=1\nSTATUS={status}")

    def reloading(self) -> None:
        """It redeploys; `ready` follows when that is over."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1_000}")

    def stopping(self, status: str) -> None:
        """It has begun its planned stop."""
        self._tell(f"STOPPING=1\nSTATUS={status}")

    def status(self, status: str) -> None:
        """One line for `systemctl status`."""
        self._tell(f"STATUS={status}")

    def _tell(self, message: str) -> None:
        if not self._address:
            return
        # "@" begins a name that is no file; the kernel has a zero byte there.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)  # a manager that reads nothing must not hold the event loop
                sock.sendto(message.encode(), address)
        except OSError as error:
            self._logger.warning(f"{VARIABLE}: {self._address} was not told", error=str(error))
