"""Long acceptance runs: seeded, with real processes where that is the point, a report as JSON.

    python -m scripts.acceptance.checkpoint_race   two checkpoint at once while a third loads
    python -m scripts.acceptance.two_servers       two services learn at once on one Redis
    python -m scripts.acceptance.four_replicas     ten million examples, equal at every checkpoint
    python -m scripts.acceptance.large_table       2^24 slots: checkpoints beside learn and predict

Each is too long for the suite, which runs a few seeds of what can be run in a few seconds. A run
that finds a fault prints the seed that shows it and exits with 1.
"""
