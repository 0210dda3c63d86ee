// The list of examples/nextjs where there is Realtime, then none, then no database. Prints, for each new snapshot, whether it was
// live, how many messages it had, and what was wrong.
import { watchMessages } from '../../examples/nextjs/lib/live.ts'
import { sendMessage } from '../../examples/nextjs/lib/outbox.ts'
import { outboxClient } from '../../examples/nextjs/lib/supabase.ts'

const outbox = outboxClient()
const send = (key: string) =>
  sendMessage(outbox, { recipient: '+12025550123', body: 'Your table is ready', send_at: null, idempotency_key: key })
const stop = (what: string) => fetch(`${process.env.SUPABASE_URL}/stop/${what}`, { method: 'POST' })
const steps = [() => send('one'), () => stop('realtime'), () => send('two'), () => stop('database')]

const ended = new AbortController()
const seen = []
for await (const snapshot of watchMessages(outbox, ended.signal)) {
  if (!snapshot) continue
  seen.push([snapshot.live, snapshot.messages?.length ?? null, snapshot.problem?.message ?? null])
  if (snapshot.live || seen.length > 1) await (steps.shift() ?? (() => ended.abort()))()
}
console.log(JSON.stringify({ seen, retried: await send('three') }))
process.exit()
