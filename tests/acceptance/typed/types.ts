// What the types allow, and what they refuse: a line below `@ts-expect-error` that compiles is an error.
import { createClient } from '@supabase/supabase-js'
import type { OutboxDatabase, OutboxStatus, WithOutbox } from '../outbox.types.ts'

const supabase = createClient<OutboxDatabase>('http://127.0.0.1', 'key')
const message = { recipient: '+12025550123', body: 'Hello' }

const { data } = await supabase
  .from('outbox')
  .insert({ ...message, metadata: { order: 7 }, send_at: null, priority: null, owner_id: null })
  .select('id, status')
  .single()
  .throwOnError()
const status: OutboxStatus = data.status
const told = await supabase.from('outbox').select('*, outbox_events(event, at)').throwOnError()
const events: { event: string; at: string }[] = told.data.flatMap((row) => row.outbox_events)
await supabase.from('outbox').update({ status: 'cancelled' }).eq('id', data.id)
await supabase.from('outbox').update({ send_at: '2099-01-15T09:00:00Z', body: 'Changed' }).eq('id', data.id)
await supabase.from('outbox').upsert(message, { onConflict: 'idempotency_key', ignoreDuplicates: true })
await supabase.from('outbox_campaigns').insert({ name: 'spring', template: 'spring', schedule: 'cron', status: 'active' })
const members = await supabase.from('outbox_campaign_members').select('external_id, outbox_campaigns(status)').throwOnError()
const campaign: 'draft' | 'active' | 'paused' | 'ended' | undefined = members.data[0]?.outbox_campaigns.status
const moved = await supabase.rpc('outbox_reschedule', { p_id: 7, p_send_at: null }).throwOnError()
const late: boolean = moved.data.outcome === 'too_late'
await supabase.rpc('outbox_status').throwOnError()
const cost = await supabase.rpc('outbox_text', { p_body: 'Hello' }).throwOnError()
const parts: number = cost.data.parts
const coming = await supabase.rpc('outbox_preview_campaign', { campaign: 'spring', max_rows: 7 }).throwOnError()
const problem: string | null | undefined = coming.data[0]?.problem
console.log(status, events, campaign, late, parts, problem)

// @ts-expect-error: a message has a recipient
await supabase.from('outbox').insert({ body: 'Hello' })
// @ts-expect-error: the engine writes the status
await supabase.from('outbox').insert({ ...message, status: 'pending' })
// @ts-expect-error: the engine counts
await supabase.from('outbox').insert({ ...message, attempts: 1 })
// @ts-expect-error: apps cancel, and set no other status
await supabase.from('outbox').update({ status: 'delivered' })
// @ts-expect-error: the sender does not change
await supabase.from('outbox').update({ sender: 'Bistro' })
// @ts-expect-error: the engine writes the history
await supabase.from('outbox_events').insert({ outbox_id: 7, event: 'sent' })
// @ts-expect-error: there is no such schedule
await supabase.from('outbox_campaigns').insert({ name: 'spring', template: 'spring', schedule: 'daily' })
// @ts-expect-error: there is no such status
if (data.status === 'arrived') console.log()
// @ts-expect-error: ids are numbers
await supabase.rpc('outbox_reschedule', { p_id: '7' })

// A project's own types, as `supabase gen types typescript` writes them. What it says of the outbox is replaced.
type Generated<Table> = { Row: Table; Insert: Partial<Table>; Update: Partial<Table>; Relationships: [] }
type Database = {
  __InternalSupabase: { PostgrestVersion: '14.1' }
  public: {
    Tables: { orders: Generated<{ id: number }>; outbox: Generated<{ id: number; status: string }> }
    Views: { [_ in never]: never }
    Functions: { count_orders: { Args: Record<PropertyKey, never>; Returns: number } }
    Enums: { shipping: 'post' | 'bike' }
    CompositeTypes: { [_ in never]: never }
  }
}
const both = createClient<WithOutbox<Database>>('http://127.0.0.1', 'key')
const order = await both.from('orders').insert({ id: 7 }).select().single().throwOnError()
const count = await both.rpc('count_orders').throwOnError()
const own = await both.from('outbox').select('status, outbox_events(event)').single().throwOnError()
const ids: number[] = [order.data.id, count.data]
const ended: boolean = own.data.status === 'delivered' && own.data.outbox_events[0]?.event === 'delivered'
console.log(ids, ended)
// @ts-expect-error: the engine writes the status
await both.from('outbox').insert({ ...message, status: 'pending' })
