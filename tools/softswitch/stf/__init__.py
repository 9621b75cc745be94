"""STF: tests of P4 programs as text, played without interfaces."""
