"""The agent's P4Runtime server for slice controllers.

It lets each role at its own slices' `flow` and `slice_forward` entries and at nothing else.

Reading order: `roles` (who asks), `view` (the P4Info that a role sees), `translate` (a role's
entries to the switch's and back), `alike` (the same for updates of a kind at once), `mirror` (what
is in the switch), `held` and `planned` (its entries and updates), `tables` (writing through),
`reads`, `arbitration` (who may write), `service` (gRPC), `server` (start and stop).
"""
