// An app: inserts and changes as a server, reads back as the server and as a signed-in user, who cancels. Prints what it saw
// as JSON.
import { createRequire } from 'node:module'

const { createClient } = createRequire(process.env.NODE_PACKAGES)('@supabase/supabase-js')
const { SUPABASE_URL, SUPABASE_SECRET_KEY, SUPABASE_PUBLISHABLE_KEY, USER_TOKEN } = process.env
const bare = { auth: { persistSession: false, autoRefreshToken: false } }

const server = createClient(SUPABASE_URL, SUPABASE_SECRET_KEY, bare)
const inserted = await server
  .from('outbox')
  .insert({ recipient: '+14155550123', body: 'Your table is ready', idempotency_key: 'one' })
  .select('id, status')
  .single()
const again = await server.from('outbox').insert({ recipient: '+14155550123', body: 'Again', idempotency_key: 'one' })
const refused = await server.from('outbox').insert({ recipient: '4155550123', body: 'Hi' })
const all = await server.from('outbox').select('body').order('id')

const later = '2099-01-15T08:00:00+00:00'
const changed = await server
  .from('outbox')
  .update({ send_at: later, body: 'Your table is ready at 8' })
  .eq('idempotency_key', 'one')
  .in('status', ['scheduled', 'pending'])
  .select('status, body')
  .single()
const engineColumn = await server.from('outbox').update({ sender: 'Bistro' }).eq('idempotency_key', 'one')
const cancelled = await server
  .from('outbox')
  .update({ status: 'cancelled' })
  .eq('idempotency_key', 'one')
  .select('status')
  .single()
const moved = await server.rpc('outbox_reschedule', { p_idempotency_key: 'one', p_send_at: later, p_body: 'See you at 8' })
const withHistory = await server.from('outbox').select('*, outbox_events(*)').eq('idempotency_key', 'one').single()

const user = createClient(SUPABASE_URL, SUPABASE_PUBLISHABLE_KEY, {
  ...bare,
  global: { headers: { Authorization: `Bearer ${USER_TOKEN}` } },
})
const own = await user.from('outbox').select('body')
const editing = await user.from('outbox').update({ body: 'Theirs' }).eq('body', 'Yours')
const cancelling = await user.from('outbox').update({ status: 'cancelled' }).gt('id', 0).select('body, status')
const ownHistory = await user.from('outbox').select('body, outbox_events(event)')
const forbidden = await user.from('outbox').insert({ recipient: '+14155550123', body: 'Free texts' })

console.log(
  JSON.stringify({
    inserted: inserted.data,
    again: again.status,
    refused: refused.error?.message,
    all: all.data,
    changed: changed.data,
    engineColumn: engineColumn.error,
    cancelled: cancelled.data,
    moved: moved.data,
    history: withHistory.data.outbox_events.map((event) => event.event),
    own: own.data,
    editing: editing.error,
    cancelling: cancelling.data,
    ownHistory: ownHistory.data,
    forbidden: forbidden.error?.code,
  }),
)
