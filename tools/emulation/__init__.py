"""Hosts and switches in network namespaces on one machine, from a network description.

plan.py says what to build (pure), namespaces.py builds it, supervisor.py runs the processes in it,
reaper.py removes everything again whatever happens, emulation.py puts them together.
`emulation.demo` shows the whole system on real traffic. Needs root; changes nothing outside its
own namespaces and its state directory.
"""
