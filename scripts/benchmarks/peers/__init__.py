"""The peers, each a program of its own that runs in .venv-bench and imports nothing of ours.

    river_service PORT            River behind FastAPI
    vowpal_wabbit_service PORT    Vowpal Wabbit behind FastAPI
    vowpal_wabbit text|lines FILE    Vowpal Wabbit in process, from its text format
    river_in_process FILE         River in process, from examples as JSON lines
    tensorflow_op FILE            TensorFlow's sparse FTRL op, from arrays

The services are what an engineer writes in an afternoon with FastAPI's documentation open, and
give the peer every advantage that costs nothing: uvloop and httptools, no access log, one process,
endpoints on the event loop (a thread pool would be slower, and the models are not safe in it), and
replies to /learn without predictions. They keep nothing on disk.
"""
