// The types that ship, held against those that `supabase gen types typescript` makes of the same database. They have the
// same tables, columns, relationships, functions and arguments, and say nothing of a row that the generated ones exclude.
import { createClient } from '@supabase/supabase-js'
import type { Database } from '../database.types.ts'
import type { OutboxDatabase, WithOutbox } from '../outbox.types.ts'

type Ours = OutboxDatabase['public']
type Theirs = Database['public']
type Tables = Ours['Tables']
type Name = keyof Tables & keyof Theirs['Tables']
type Call = keyof Omit<Ours['Functions'], 'outbox_events'> & keyof Theirs['Functions']

type Same<A, B> = [A, B] extends [B, A] ? true : { ours: A; theirs: B }
type Within<A, B> = [A] extends [B] ? true : { ours: A; theirs: B }
// A relationship by a function is a part of their rows, although `*` leaves it out.
type RowOf<T extends Name> = Omit<Theirs['Tables'][T]['Row'], Theirs['Tables'][T]['ComputedFields']>
type Keys<T> = [T] extends [never] ? never : keyof T

type Rows = { [T in Name]: Within<Tables[T]['Row'], RowOf<T>> }
type Columns = { [T in Name]: Same<keyof Tables[T]['Row'], keyof RowOf<T>> }
type Inserts = { [T in Name]: Within<Keys<Tables[T]['Insert']>, keyof Theirs['Tables'][T]['Insert']> }
type Updates = { [T in Name]: Within<Keys<Tables[T]['Update']>, keyof Theirs['Tables'][T]['Update']> }
type Related = { [T in Name]: Same<Tables[T]['Relationships'], Theirs['Tables'][T]['Relationships']> }
type Arguments = { [F in Call]: Same<Keys<Ours['Functions'][F]['Args']>, Keys<Theirs['Functions'][F]['Args']>> }
type Returns = { [F in Call]: Within<Ours['Functions'][F]['Returns'], Theirs['Functions'][F]['Returns']> }

const names: [Same<keyof Tables, keyof Theirs['Tables']>, Same<keyof Ours['Views'], keyof Theirs['Views']>] = [true, true]
const figures: Same<keyof Ours['Views']['outbox_figures']['Row'], keyof Theirs['Views']['outbox_figures']['Row']> = true
const unknown: Exclude<keyof Ours['Functions'], keyof Theirs['Functions']>[] = []
const tables: { [T in Name]: true }[] = [{} as Rows, {} as Columns, {} as Inserts, {} as Updates, {} as Related]
const functions: { [F in Call]: true }[] = [{} as Arguments, {} as Returns]
const history: Ours['Functions']['outbox_events']['SetofOptions'] = {} as Theirs['Functions']['outbox_events']['SetofOptions']
console.log(names, figures, unknown, tables, functions, history)

const supabase = createClient<WithOutbox<Database>>('http://127.0.0.1', 'key')
const { data } = await supabase.from('outbox').select('*, outbox_events(event)').single().throwOnError()
const ended: boolean = data.status === 'delivered' && data.outbox_events[0]?.event === 'delivered'
console.log(ended)
// @ts-expect-error: the engine writes the status
await supabase.from('outbox').insert({ recipient: '+12025550123', body: 'Hello', status: 'pending' })
