"""The demonstration behind `make build-and-run`: real tools on the emulated network, judged.

flows.py chooses what to send (pure); probe.py runs inside the hosts; each phase module measures
one thing and puts rows on the board; board.py prints the verdict and the evidence for each of the
six problems.
"""
