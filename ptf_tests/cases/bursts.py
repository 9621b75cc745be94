"""Many packets at once, and large ones: none is lost, changed or overtaken."""

from ptf import testutils

from ptf_tests.base import SwitchCase
from ptf_tests.network import FAR, ONE, RED, TWO, A
from ptf_tests.packets import arriving, leaving, udp

BURST = 24  # BMv2's egress queues hold 64


class BurstKeepsOrder(SwitchCase):
    """Frames of one port come out in their order, through a tunnel, from one, and bridged."""

    def runTest(self):
        key = RED.best_effort.key
        bodies = [bytes([number]) * (20 + number) for number in range(BURST)]
        local = [udp(ONE, TWO, payload=body) for body in bodies]
        out = [udp(ONE, FAR, payload=body) for body in bodies]
        back = [udp(FAR, ONE, payload=body) for body in bodies]
        self.burst(1, local, 2, local)
        self.burst(1, out, A.port, [leaving(frame, key, A) for frame in out])
        self.burst(A.port, [arriving(frame, key, sender=A) for frame in back], 1, back)

    def burst(self, port, frames, out, expected):
        for frame in frames:
            testutils.send_packet(self, port, frame)
        for frame in expected:
            self.receive(out, frame)
        self.silence()


class BurstFromTwoPortsAllArrive(SwitchCase):
    """Frames from two ports into one keep each port's order; all are counted."""

    def runTest(self):
        first = [udp(ONE, FAR, payload=bytes([number])) for number in range(BURST)]
        second = [udp(TWO, FAR, payload=bytes([number])) for number in range(BURST)]
        for one, two in zip(first, second, strict=True):
            testutils.send_packet(self, 1, one)
            testutils.send_packet(self, 2, two)
        wanted = {leaving(frame, RED.best_effort.key, A): frame for frame in (*first, *second)}
        got = [wanted[self.next_frame(A.port)] for _ in range(2 * BURST)]
        self.assertEqual([frame for frame in got if frame in first], first)
        self.assertEqual([frame for frame in got if frame in second], second)
        self.silence()
        counter = self.counter(self.network.bridge(RED, FAR, A.next_hop))
        self.assertEqual(counter.packets, 2 * BURST)
        self.assertEqual(counter.bytes, sum(map(len, (*first, *second))))


class LargeFrames(SwitchCase):
    """Frames up to the fabric's MTU of 9000 pass whole."""

    def runTest(self):
        key = RED.best_effort.key
        for size in (1458, 1459, 1986, 2048, 4096, 8900):
            with self.subTest(size=size):
                frame = udp(ONE, FAR, payload=b"\x5a" * size)
                self.passes(1, frame, {A.port: leaving(frame, key, A)})
                back = udp(FAR, ONE, payload=b"\xa5" * size)
                self.passes(A.port, arriving(back, key, sender=A), {1: back})
