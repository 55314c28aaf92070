"""What a hostile client sends, made from a seed, and what must hold whatever it sends.

hostile       the words and the damage: values, tokens, mutations of bytes
bodies        bodies of every format, right ones and what becomes of them
ingest        bodies to `decode_body`, compared with the slow readings of the tests
application   whole requests to the ASGI application over a real server
wire          raw bytes of requests, and a strict reader of replies
cases         what is sent over sockets, and what has to come back
sockets       these to a real service process: replies, hangs, memory, counts
"""
