"""Coverage-guided fuzzing of the readers of bytes, their kernels run as Python.

interpreted   stand-ins for the intrinsics, with every index checked
targets       entry, snapshot, json, msgpack, vw: what is called, and what must hold afterwards
seeds         a small corpus to begin with, and the words of each format
__main__      one target for some time, then its coverage by branches
"""
