"""Scenarios of the crash harness: several replicas in one process, every call to Redis at risk.

    python -m scripts.crash_scenarios --seeds 20 calls rollback lag damage restore emptied

`scripts/crash` kills real processes at named points. Here nodes (the whole application behind its
ASGI interface, a hub, connections of its own) live in one event loop on a real server that is
killed, stopped and set back. So a seed takes a second or two, and a call can be cut, repeated late,
or be the last one of its node, exactly where the seed says.

    network    what happens to the calls of one node
    cluster    nodes, the server under them, a fresh replica on demand
    clients    who learns and predicts, and the journal of what they were told
    history    the log of a model as it was before it was trimmed, folded by the reference fold
    judge      what the journal, the log and the replicas must agree on
    scenarios  what happens to the cluster meanwhile

A scenario raises `Fault`, or adds to the journal's faults, when it sees what must not be.
"""
