"""The VN controller: turns a VN's flowspaces into flow entries and writes them through the slicers.

Reading order: `compile` (pure: records to entries), `session` (one VN on one switch), `leader` (one
VN that this daemon stands for), `daemon` (all of them), `main` (the command).
"""
