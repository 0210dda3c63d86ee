'use server'

import { randomUUID } from 'node:crypto'

import { revalidatePath } from 'next/cache'
import { headers } from 'next/headers'

import { mayUse } from '../lib/access.ts'
import { cancelMessage, sendMessage, type Problem } from '../lib/outbox.ts'
import { outboxClient } from '../lib/supabase.ts'

/** What the form shows next. `key` makes one message of all submits that carry it. */
export type SendState = { key: string; recipient: string; body: string; notice?: string; problem?: Problem }
export type CancelState = { notice?: string; problem?: Problem }

export async function send(_before: SendState, form: FormData): Promise<SendState> {
  await requireAccess()
  const [recipient, body, key] = [text(form, 'recipient'), text(form, 'body'), text(form, 'key')]
  const sent = await sendMessage(outboxClient(), { recipient, body, send_at: sendAt(form), idempotency_key: key })
  if ('problem' in sent) return { key, recipient, body, problem: sent.problem }
  if (sent.other) {
    const message = `Not sent: this form sent message ${sent.id} before, with another text or number`
    return { key: randomUUID(), recipient, body, problem: { message, hint: 'To send this one as well, press Send again.' } }
  }
  revalidatePath('/')
  return { key: randomUUID(), recipient, body: '', notice: `Message ${sent.id} is in the outbox.` }
}

export async function cancel(_before: CancelState, form: FormData): Promise<CancelState> {
  await requireAccess()
  const id = text(form, 'id')
  const cancelled = await cancelMessage(outboxClient(), id)
  revalidatePath('/')
  if ('problem' in cancelled) return cancelled
  const { status } = cancelled
  if (status === 'cancelled') return { notice: `Message ${id} is cancelled.` }
  if (status === 'sending') return { notice: `Message ${id} is being sent. It is cancelled if its request returns it unsent.` }
  return { notice: `Message ${id} is ${status} already: too late to cancel.` }
}

async function requireAccess(): Promise<void> {
  if (!mayUse((await headers()).get('authorization'))) throw new Error('Not signed in.')
}

function text(form: FormData, name: string): string {
  const value = form.get(name)
  return typeof value === 'string' ? value : ''
}

function sendAt(form: FormData): string | null {
  const seconds = Number(text(form, 'delay'))
  return seconds > 0 ? new Date(Date.now() + seconds * 1000).toISOString() : null
}
