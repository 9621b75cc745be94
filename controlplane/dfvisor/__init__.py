"""DFVisor: a distributed network slicer on P4Runtime switches."""
