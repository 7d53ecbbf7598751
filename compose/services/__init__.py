"""MySQL, MariaDB and Kafka as plain processes: for development, for the tests, for the bench. Linux on x86-64.

`python -m compose.services run` starts them and tells their addresses. In code:

    with Mysql(directory) as mysql:  # fetched and installed if need be, started, ready
        mysql.url  # mysql://belfry:belfry@127.0.0.1:PORT/belfry
        mysql.kill(); mysql.start()

Everything here blocks; call it from the main thread, or in Trio by `trio.to_thread.run_sync`.
"""

from __future__ import annotations

from compose.services.errors import ServiceError
from compose.services.kafka import Kafka
from compose.services.mariadb import Mariadb
from compose.services.mysql import Mysql
from compose.services.service import Service
from compose.services.shared import Shared

__all__ = ["SERVICES", "Kafka", "Mariadb", "Mysql", "Service", "ServiceError", "Shared"]

SERVICES: dict[str, type[Service]] = {"mysql": Mysql, "mariadb": Mariadb, "kafka": Kafka}
