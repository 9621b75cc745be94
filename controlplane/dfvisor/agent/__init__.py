"""The agent: one daemon beside each switch, and its only P4Runtime primary.

Pure: `site` (the fabric as one switch sees it), `desired` (what its tables should hold), `book`
(what they should hold and do hold, by owner), `planner` (records to parts of the book; bad records
keep the last good ones), `readings` (counters to records). Shell: `numbers` (local ids), `link`
(the switch), `follower` (the global database), `publisher` (reports), `saver` (records for a start
without the database), `directory` (what the slicer may know), `agent` (all of it together), `main`
(the command).
"""
