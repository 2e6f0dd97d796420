"""The messages of a star."""

from __future__ import annotations

import logging

from tasoc_mpi.photometry.result import MessageCollector


def test_messages_are_collected_as_python_3_13_hands_them_out(monkeypatch):
    def handle(self, record):
        with self.lock:
            self.emit(record)

    monkeypatch.setattr(logging.Handler, "handle", handle)
    collector, logger = MessageCollector(), logging.getLogger("tasoc_mpi.test_result")
    logger.addHandler(collector)
    try:
        logger.info("all is well")
        logger.warning("the mask has %d pixels", 3)
    finally:
        logger.removeHandler(collector)
    assert collector.lines == ["the mask has 3 pixels"]
