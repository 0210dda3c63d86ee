"""A Supabase on this machine: a real PostgreSQL, the real API roles, and Supabase Lite in front of it.

:mod:`~sandbox.local.commands` is ``outbox local``, :class:`~sandbox.local.stack.LocalStack` the same for Python, and
:mod:`~sandbox.local.supervisor` the process that keeps both servers alive and takes them with it when it ends.
"""
