"""The agent: one daemon beside each switch, and its only P4Runtime primary.

Pure: `site` (the fabric as one switch sees it), `desired` (what its tables should hold), `book`
(what they should hold and do hold, by owner), `readings` (counters to records). Shell: `numbers`
(local ids), `link` (the switch), `follower` (the global database), `publisher` (reports), `agent`
(all of it together), `main` (the command).
"""
