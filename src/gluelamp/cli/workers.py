"""The log records of worker processes, sent to the process that started the sweep, which shows them."""

from __future__ import annotations

import atexit
import io
import logging
import pickle
import shutil
import socket
import sys
from logging.handlers import DatagramHandler
from pathlib import Path
from tempfile import mkdtemp
from threading import Thread

_log = logging.getLogger(__name__)
_MAX_BYTES = 1 << 18


def receive_records() -> str:
    """Handle the records that workers send from now on, and return the address to send them to."""
    # a socket in a folder that only this user can open: the records are pickled
    folder = mkdtemp(prefix="gluelamp-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    address = str(Path(folder) / "log")
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.bind(address)
    Thread(target=_handle_records, args=(receiver,), daemon=True).start()
    return address


def _handle_records(receiver: socket.socket) -> None:
    while content := receiver.recv(_MAX_BYTES):
        record = logging.makeLogRecord(pickle.loads(content[4:]))  # after four bytes with the length
        logging.getLogger(record.name).handle(record)


def send_records(address: str) -> None:
    """Send the records and the error output of this process to another one, and show nothing here.

    Args:
        address: from `receive_records` of the other process.
    """
    logging.raiseExceptions = False  # a line that cannot be sent must not end the training
    logging.getLogger().handlers[:] = [DatagramHandler(address, None)]
    sys.stderr = _ErrorOutput()


class _ErrorOutput(io.TextIOBase):
    """Sends what is written as log records."""

    def write(self, text: str) -> int:
        if text.strip():
            _log.error("%s", text.rstrip("\n"), extra={"is_error_output": True})
        return len(text)
