"""The P4Runtime server of the softswitch: from gRPC messages to calls of the engine.

Reading order: `service` (the RPCs) uses `pipeline` (one pushed pipeline and its content), which
uses `tables`, `counters` and `multicast`, which use `schema` (checked P4Info) and `match`/`values`
(encodings). `arbitration` is the pure state machine of primaries and backups. `pb` is the only
importer of generated protobufs. Nothing here touches packets: that is the engine's part.
"""
