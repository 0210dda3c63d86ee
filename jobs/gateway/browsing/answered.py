"""One reply by its id, and the texts of replies on request."""

from jobs.gateway.replies import Reply
from jobs.gateway.rpc import Calls


class ReplyCalls(Calls):
    """Finds replies, and shows their texts."""

    async def find_reply(self, reply: str) -> Reply | None:
        """The reply without its text, None if there is none."""
        answer = await self._rpc.call("outbox_find_reply", {"p_id": reply})
        return None if answer is None else Reply.parse(answer)

    async def show_replies(self, *, unclear: bool, before: Reply | None, most: int) -> tuple[Reply, ...]:
        """A page as ``Operating.list_replies`` gives it. The audit records that the texts were read."""
        answer = await self._rpc.call(
            "outbox_show_replies",
            {
                "p_unclear": unclear,
                "p_before_at": None if before is None else before.recorded_at.isoformat(),
                "p_before_id": None if before is None else before.id,
                "p_most": most,
            },
        )
        return tuple(Reply.parse(row) for row in answer)
