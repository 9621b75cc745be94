"""P4Runtime as values and a client: what the agent, the slicer and the VN controller share.

Reading order: `entries` (what a switch can hold, as values, and the difference of two states),
`shapes` (what a P4Info declares), `p4info` (the schema: values to messages and back), `replication`
and `streamed` (the same for groups and sessions, and for packets, digests and idle entries),
`client` (one connection to a P4Runtime server), `ports` (what the agent and its slicer are to each
other), `inspect` (a read-only look at a switch). `pb` is the only importer of generated protobufs.
"""
