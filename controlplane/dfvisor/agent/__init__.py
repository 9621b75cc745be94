"""The agent: one daemon beside each switch, and its only P4Runtime primary.

Pure: `site` (the fabric as one switch sees it), `desired` (what it should hold), `edge` (the part
of that where a VN has access ports), `making` (shorthand), `book` (what it should hold and does
hold, by owner), `planner` (records to parts of the book; bad records keep the last good ones),
`readings` (counters to records), `inbox` (what the switch sends unasked). Shell: `numbers` (local
ids), `link` (the switch), `follower` (the global database), `publisher` (reports), `saver` (records
for a start without the database), `directory` (what the slicer may know), `agent` (all of it
together), `main` (the command).
"""
