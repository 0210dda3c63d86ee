"""The lists, figures, audit and bulk actions of the dashboard. The rules are in `supabase/schemas/93_dashboard`."""

from jobs.gateway.browsing.answered import ReplyCalls
from jobs.gateway.browsing.audit import AuditCalls
from jobs.gateway.browsing.bulk import BulkCalls
from jobs.gateway.browsing.figures import FigureCalls
from jobs.gateway.browsing.messages import MessageCalls
from jobs.gateway.browsing.suppressed import SuppressionCalls


class Browsing(MessageCalls, FigureCalls, AuditCalls, BulkCalls, SuppressionCalls, ReplyCalls):
    """The calls of the dashboard. Each method is one call.

    It raises :class:`jobs.gateway.errors.GatewayUnavailable` or :class:`jobs.gateway.errors.GatewayRefused`.
    """
