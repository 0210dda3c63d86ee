import 'server-only'

import type { PostgrestError, SupabaseClient } from '@supabase/supabase-js'

/** What the database answers when it refuses: what is wrong, and what to do about it. */
export type Problem = { message: string; hint: string }

export type NewMessage = { recipient: string; body: string; send_at: string | null; idempotency_key: string }

export type Message = {
  id: number
  recipient: string
  /** Null for a one-time code, which no screen may show. */
  body: string | null
  status: string
  error: string | null
  send_at: string
}

/** `other` says that the key was used before, by a message with another text or number. Then nothing was sent. */
export type Sent = { id: number; other: boolean } | { problem: Problem }

const LATEST = 20

/** Insert a message. With the same key it is one message, however often this is called. The database checks it. */
export async function sendMessage(outbox: SupabaseClient, message: NewMessage): Promise<Sent> {
  const insert = await outbox
    .from('outbox')
    .upsert(message, { onConflict: 'idempotency_key', ignoreDuplicates: true })
    .select('id')
  if (insert.error) return { problem: problemOf(insert.error, insert.status) }
  const inserted: { id: number } | undefined = insert.data[0]
  if (inserted) return { id: inserted.id, other: false }

  const earlier = await outbox
    .from('outbox')
    .select('id, recipient, body')
    .eq('idempotency_key', message.idempotency_key)
    .single<{ id: number; recipient: string; body: string }>()
  if (earlier.error) return { problem: problemOf(earlier.error, earlier.status) }
  const { id, recipient, body } = earlier.data
  return { id, other: recipient !== message.recipient || body !== message.body }
}

/** Cancel a message. The status in the answer says whether that came in time: then it is `cancelled`. */
export async function cancelMessage(outbox: SupabaseClient, id: string): Promise<{ status: string } | { problem: Problem }> {
  const update = await outbox
    .from('outbox')
    .update({ status: 'cancelled' })
    .eq('id', id)
    .select('status')
    .maybeSingle<{ status: string }>()
  if (update.error) return { problem: problemOf(update.error, update.status) }
  return update.data ?? { problem: { message: `There is no message ${id}`, hint: 'It may have been deleted.' } }
}

/** The latest messages, newest first. */
export async function latestMessages(outbox: SupabaseClient): Promise<{ messages: Message[] } | { problem: Problem }> {
  const latest = await outbox
    .from('outbox')
    .select('id, recipient, body, secret, status, error, send_at')
    .order('id', { ascending: false })
    .limit(LATEST)
    .retry(false) // the list is read again soon
    .overrideTypes<(Message & { secret: boolean })[], { merge: false }>()
  if (latest.error) return { problem: problemOf(latest.error, latest.status) }
  return { messages: latest.data.map(({ secret, ...message }) => (secret ? { ...message, body: null } : message)) }
}

function problemOf(error: PostgrestError, status: number): Problem {
  // No answer, or one from a proxy on the way: the insert may have been done all the same.
  if (status === 0 || status >= 500) {
    return { message: 'The database did not answer', hint: 'Try again: this form makes one message, however often it is sent.' }
  }
  return { message: error.message, hint: error.hint ?? '' }
}
