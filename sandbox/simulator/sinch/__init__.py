"""Sinch: the SMS REST API (XMS), its callbacks and its inbounds.

From the outside in: ``api`` (paths), ``routes`` (one module a resource), ``provider`` (what was accepted, and what follows),
``batches`` and ``life`` (what becomes of each message), ``feed`` (finished reports), ``timeline`` (callbacks).
"""
