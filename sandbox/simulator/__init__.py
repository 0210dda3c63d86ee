"""Sinch and Vonage on this machine: their APIs on one real socket, with faults on demand and books to judge by.

From the outside in: ``server`` (a process or a thread with a socket), ``app`` (HTTP, latency and faults), ``controls`` with
``vonage_controls`` (``/_sim``), ``world`` (all state), ``sinch`` and ``vonage`` (one folder a provider, neither
knows the other), ``core`` (what they share: the clock, ``books``, callbacks by ``reporting`` and ``callbacks``). ``control`` is
the client for tests and the demo.
"""
