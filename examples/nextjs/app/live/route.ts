import { watchMessages } from '../../lib/live.ts'
import { outboxClient } from '../../lib/supabase.ts'

export const dynamic = 'force-dynamic'

/** A stream of events that a browser reads with EventSource, which comes back by itself when the stream ends. */
export function GET(): Response {
  const ended = new AbortController()
  const snapshots = watchMessages(outboxClient(), ended.signal)
  const encoder = new TextEncoder()
  const events = new ReadableStream<Uint8Array>({
    async pull(controller) {
      const { value, done } = await snapshots.next()
      if (done) return controller.close()
      // A line that begins with a colon is no event. It keeps proxies from closing a quiet stream.
      controller.enqueue(encoder.encode(value ? `data: ${JSON.stringify(value)}\n\n` : ':\n\n'))
    },
    async cancel() {
      ended.abort()
      await snapshots.return(undefined)
    },
  })
  return new Response(events, {
    headers: { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store', 'X-Accel-Buffering': 'no' },
  })
}
