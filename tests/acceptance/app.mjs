// An app: inserts as a server, reads back as the server and as a signed-in user. Prints what it saw as JSON.
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

const user = createClient(SUPABASE_URL, SUPABASE_PUBLISHABLE_KEY, {
  ...bare,
  global: { headers: { Authorization: `Bearer ${USER_TOKEN}` } },
})
const own = await user.from('outbox').select('body')
const forbidden = await user.from('outbox').insert({ recipient: '+14155550123', body: 'Free texts' })

console.log(
  JSON.stringify({
    inserted: inserted.data,
    again: again.status,
    refused: refused.error?.message,
    all: all.data,
    own: own.data,
    forbidden: forbidden.error?.code,
  }),
)
