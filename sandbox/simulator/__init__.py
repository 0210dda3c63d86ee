"""A Sinch that runs on this machine: the SMS REST API (XMS) on a real socket, with faults on demand and books to judge by.

The modules, from the outside in: ``server`` (a process or a thread with a socket), ``app`` (HTTP), ``routes`` (one module a
resource), ``world`` (everything it remembers). What it knows of the world's parts: ``batches`` (what was accepted), ``life``
(what becomes of each message), ``feed`` (finished reports), ``reporting`` and ``callbacks`` (callbacks to the customer),
``faults`` (misbehaving on demand), ``books`` (the truth). ``control`` is the client for tests and the demo.
"""
