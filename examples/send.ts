// Sends a text from a server, changes it and cancels it, and shows what the database says to each mistake.
//
//   node send.ts +12025550123
//
// Needs SUPABASE_URL and SUPABASE_SECRET_KEY. The secret key is for servers only.
import { createClient, PostgrestError } from '@supabase/supabase-js'
import type { OutboxDatabase, OutboxInsert } from './outbox.types.ts'

const { SUPABASE_URL, SUPABASE_SECRET_KEY } = process.env
if (!SUPABASE_URL || !SUPABASE_SECRET_KEY) throw new Error('set SUPABASE_URL and SUPABASE_SECRET_KEY')
const supabase = createClient<OutboxDatabase>(SUPABASE_URL, SUPABASE_SECRET_KEY, { auth: { persistSession: false } })

// One message for each key, however often this runs. The unique key decides, so two processes may call it at once.
async function send(message: OutboxInsert & { idempotency_key: string }) {
  const { data, error, status } = await supabase.from('outbox').insert(message).select('id, status').single()
  if (!error) return { ...data, isNew: true }
  if (status !== 409) throw new Error(explain(error))
  const { data: first } = await supabase
    .from('outbox')
    .select('id, status')
    .eq('idempotency_key', message.idempotency_key)
    .single()
    .throwOnError()
  return { ...first, isNew: false }
}

// `message` says what is wrong, `hint` what to do. 22023 and 42501 come from the outbox itself: show them to whoever can mend the
// row, and do not try again. An error without a code is one of the network, which may pass.
function explain({ code, message, hint }: Pick<PostgrestError, 'code' | 'message' | 'hint'>): string {
  return `${message}${hint ? `. ${hint}` : ''} [${code}]`
}

const recipient = process.argv[2] ?? '+12025550123'
const key = 'order-7-placed'
const tomorrow = new Date(Date.now() + 24 * 3600 * 1000).toISOString()

const sent = await send({ recipient, body: 'We have your order 7.', idempotency_key: key, send_at: tomorrow })
console.log('inserted', sent)
console.log('again', await send({ recipient, body: 'We have your order 7.', idempotency_key: key, send_at: tomorrow }))

// Without throwOnError, supabase-js returns the error and throws nothing: a forgotten check hides it.
const { error } = await supabase.from('outbox').insert({ recipient: '2025550123', body: 'Hello' })
console.log('refused', error && explain(error))
try {
  await supabase.from('outbox').insert({ recipient, body: ' ' }).throwOnError()
} catch (thrown) {
  if (!(thrown instanceof PostgrestError)) throw thrown
  console.log('thrown', explain(thrown))
}

// The call answers whether it came in time.
const { data: moved } = await supabase
  .rpc('outbox_reschedule', { p_idempotency_key: key, p_body: 'Your order 7 is packed.', p_send_at: tomorrow })
  .throwOnError()
console.log('changed', moved.in_time ? moved.outcome : `${moved.reason}: ${moved.hint}`)

// Cancelling too late is no error. Read the status.
const { data: cancelled } = await supabase
  .from('outbox')
  .update({ status: 'cancelled' })
  .eq('id', sent.id)
  .select('status')
  .single()
  .throwOnError()
console.log(cancelled)

// A message with its history, in one request.
const { data: told } = await supabase
  .from('outbox')
  .select('status, outbox_events(event, source)')
  .eq('id', sent.id)
  .single()
  .throwOnError()
console.log(told.outbox_events.map(({ event, source }) => `${event} by ${source}`))
