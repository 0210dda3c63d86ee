"""The only way to the database: one method for each function that the migrations promise."""

from jobs.gateway.gateway import Gateway
from jobs.gateway.values import Alarm, Asks, Claim, Dispatch, Expansion, Look, Plan, Window

__all__ = ["Alarm", "Asks", "Claim", "Dispatch", "Expansion", "Gateway", "Look", "Plan", "Window"]
