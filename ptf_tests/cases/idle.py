"""Flow entries with a time limit: the switch says when nothing hit one for so long."""

import time

from dfvisor.p4rt.entries import entry_key

from ptf_tests.base import SwitchCase
from ptf_tests.network import FAR, ONE, RED, A
from ptf_tests.packets import gold, leaving
from ptf_tests.tables import Timed

TIMEOUT_MS = 500
NOTIFIED_S = 8.0
FRAME = gold(ONE, FAR)


class _IdleCase(SwitchCase):
    def entry(self, priority=30, **match):
        return self.network.entry(
            "flow", "permit", priority=priority, slice_id=RED.gold.id, cookie=7, **match
        )

    def notified(self):
        got = self.client.next_idle(NOTIFIED_S)
        if got is None:
            self.fail(f"no idle timeout in {NOTIFIED_S} s")
        return got


class IdleEntryIsReported(_IdleCase):
    """An entry that nothing hits; it stays, and still matches."""

    def runTest(self):
        entry = self.entry(l4_dst=5000)
        self.insert(Timed(entry, TIMEOUT_MS))
        self.assertEqual(entry_key(self.notified()), entry_key(entry))
        self.passes(1, FRAME, {A.port: leaving(FRAME, RED.gold.key, A, dscp=46)})
        self.assertEqual(self.counter(entry).packets, 1)


class IdleEntryWithoutLimitIsNot(_IdleCase):
    """Of two entries only the one with a limit is reported."""

    def runTest(self):
        limited = self.entry(ip_proto=6)
        self.insert(self.entry(l4_dst=1), Timed(limited, TIMEOUT_MS))
        self.assertEqual(entry_key(self.notified()), entry_key(limited))


class IdleEntryInUseIsNotReported(_IdleCase):
    """An entry that packets hit is not reported before they end."""

    def runTest(self):
        limit_s = 2.0
        self.insert(Timed(self.entry(l4_dst=5000), round(limit_s * 1000)))
        onward = leaving(FRAME, RED.gold.key, A, dscp=46)
        until = time.monotonic() + 1.5 * limit_s
        while time.monotonic() < until:
            self.passes(1, FRAME, {A.port: onward})
            self.assertIsNone(self.client.next_idle(0.1))
        self.notified()
