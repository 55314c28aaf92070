"""The crash harness: real processes ended at named points, and an oracle that shares no line.

    points        which points there are, what traffic reaches each, and the seeded plans
    template      one process that has imported and compiled everything, and forks services
    processes     services and Redis as the harness sees them: start, kill, wait
    proxy         a byte-cutting proxy between a service and Redis
    clients       learning, predicting and administrating clients, and their journal
    episode       one data directory: lives and deaths, then quiet, then what is served
    history       the log from the append-only file, whatever was trimmed
    judge         history, journal and what is served against the sequential fold

docs/crashes.md says what is checked and how to run it.
"""
