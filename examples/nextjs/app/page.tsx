import { randomUUID } from 'node:crypto'

import { readSnapshot } from '../lib/live.ts'
import { outboxClient } from '../lib/supabase.ts'
import { MessageList } from './message-list.tsx'
import { SendForm } from './send-form.tsx'

export const dynamic = 'force-dynamic'

export default async function Page() {
  const first = await readSnapshot(outboxClient())
  return (
    <main>
      <h1>Send a text</h1>
      <SendForm firstKey={randomUUID()} />
      <MessageList first={first} />
    </main>
  )
}
