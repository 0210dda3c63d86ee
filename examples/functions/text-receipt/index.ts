// Edge Function: a signed-in customer asks for the receipt of an order as a text. `supabase.functions.invoke('text-receipt',
// { body: { order_id: 7 } })` in the app. The orders are those of supabase/examples/orders.sql.
import { createClient } from '@supabase/supabase-js'
import type { OutboxDatabase, WithOutbox } from '../_shared/outbox.types.ts'

// Yours come from `supabase gen types typescript`.
type Order = { id: number; customer_id: string; phone: string; total_cents: number }
type Database = WithOutbox<{
  public: {
    Tables: { orders: { Row: Order; Insert: Order; Update: Partial<Order>; Relationships: [] } }
    Views: { [_ in never]: never }
    Functions: { [_ in never]: never }
  }
}>

// New keys come as JSON by their names; projects with legacy keys have one of each.
const key = (named: string, legacy: string) =>
  (JSON.parse(Deno.env.get(named) ?? '{}').default ?? Deno.env.get(legacy)) as string
const url = Deno.env.get('SUPABASE_URL')!
const bare = { auth: { persistSession: false, autoRefreshToken: false } }
const server = createClient<Database>(url, key('SUPABASE_SECRET_KEYS', 'SUPABASE_SERVICE_ROLE_KEY'), bare)

async function textReceipt(request: Request): Promise<Response> {
  const authorization = request.headers.get('Authorization')
  if (request.method !== 'POST' || !authorization) return Response.json({ message: 'sign in first' }, { status: 401 })
  const { order_id } = await request.json().catch(() => ({}))
  if (!Number.isInteger(order_id)) return Response.json({ message: 'order_id is missing' }, { status: 400 })

  // With the customer's own token, row level security shows own orders only. Nothing of the request names a number or a text:
  // whoever may choose both can send anything to anyone, at your cost.
  const customer = createClient<Database>(url, key('SUPABASE_PUBLISHABLE_KEYS', 'SUPABASE_ANON_KEY'), {
    ...bare,
    global: { headers: { Authorization: authorization } },
  })
  const { data: order, error: unread } = await customer.from('orders').select().eq('id', order_id).maybeSingle()
  if (unread) return Response.json({ message: unread.message }, { status: 502 })
  if (!order) return Response.json({ message: 'no such order' }, { status: 404 })

  // The key makes a second press of the button the same message.
  const { error } = await server.from('outbox').upsert(
    {
      recipient: order.phone,
      body: `Receipt for order ${order.id}: ${(order.total_cents / 100).toFixed(2)} USD. Thank you!`,
      owner_id: order.customer_id,
      idempotency_key: `order-${order.id}-receipt`,
    },
    { onConflict: 'idempotency_key', ignoreDuplicates: true },
  )
  // 22023: the outbox refuses the row. `hint` says what to do about it.
  if (error?.code === '22023') return Response.json({ message: error.message, hint: error.hint }, { status: 422 })
  if (error) return Response.json({ message: 'try again in a moment' }, { status: 503 })
  return Response.json({ message: 'on its way' }, { status: 202 })
}

Deno.serve(textReceipt)
