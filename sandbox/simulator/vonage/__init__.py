"""Vonage: the Messages API for SMS and MMS, its webhooks, and the Reports API.

From the outside in: ``api`` (paths), ``provider`` (what was accepted, and what follows), ``wanted`` (the limits of a request),
``messages`` (what becomes of each), ``timeline`` and ``webhooks`` (callbacks), ``records`` (Reports), ``tokens`` (JWT).
"""
