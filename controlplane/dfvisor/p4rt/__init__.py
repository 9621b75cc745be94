"""P4Runtime as values and a client: what the agent, the slicer and the VN controller share.

Reading order: `entries` (table entries and groups as values, and their difference), `p4info` (the
schema: values to messages and back), `client` (one connection to a P4Runtime server), `ports` (what
the agent and its slicer are to each other), `inspect` (a read-only look at a switch). `pb` is the
only importer of generated protobufs.
"""
