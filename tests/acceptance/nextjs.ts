// What the server of examples/nextjs does, without its pages. Prints what it saw as JSON.
import { lacksPassword, mayUse } from '../../examples/nextjs/lib/access.ts'
import { watchMessages } from '../../examples/nextjs/lib/live.ts'
import { cancelMessage, latestMessages, sendMessage } from '../../examples/nextjs/lib/outbox.ts'
import { outboxClient } from '../../examples/nextjs/lib/supabase.ts'

const outbox = outboxClient()
const message = { recipient: '+12025550123', body: 'Your table is ready', send_at: null, idempotency_key: 'form-1' }
const refused = await sendMessage(outbox, { ...message, recipient: '202555' })
const clicks = await Promise.all([sendMessage(outbox, message), sendMessage(outbox, message)])
const edited = await sendMessage(outbox, { ...message, body: 'Your table is gone' })
const code = await outbox.from('outbox').insert({ recipient: '+12025550124', body: 'Your code is 123456', secret: true })
const later = { ...message, send_at: '2099-01-15T08:00:00Z', idempotency_key: 'form-2' }
await sendMessage(outbox, later)

const ended = new AbortController()
const seen = []
for await (const snapshot of watchMessages(outbox, ended.signal)) {
  if (!snapshot) continue
  seen.push({ live: snapshot.live, statuses: snapshot.messages?.map((one) => one.status) })
  const scheduled = snapshot.messages?.find((one) => one.status === 'scheduled')
  if (scheduled) await cancelMessage(outbox, `${scheduled.id}`)
  else ended.abort()
}
const missing = await cancelMessage(outbox, '404')
const latest = await latestMessages(outbox)

const basic = (credentials: string) => `Basic ${Buffer.from(credentials).toString('base64')}`
const local = [lacksPassword(), mayUse(null)]
process.env.SUPABASE_URL = 'https://your-ref.supabase.co'
const hosted = [lacksPassword(), mayUse(null), mayUse(basic('anyone:'))]
process.env.APP_PASSWORD = 'correct: horse'
const guarded = [null, 'Basic', basic('anyone:wrong'), basic('anyone:correct: horse')].map(mayUse)

console.log(JSON.stringify({ refused, clicks, edited, code: code.error, seen, missing, latest, local, hosted, guarded }))
process.exit()
