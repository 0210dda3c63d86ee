import 'server-only'

import { randomUUID } from 'node:crypto'

import type { SupabaseClient } from '@supabase/supabase-js'

import { latestMessages, type Message, type Problem } from './outbox.ts'

/** What was in the outbox at `readAt` (milliseconds). `live`: Realtime tells of changes, nothing has to be polled. */
export type Snapshot = { readAt: number; live: boolean; messages?: Message[]; problem?: Problem }

const POLL_MS = 2_000
/** With Realtime too, since a change may be missed while it reconnects. */
const LIVE_POLL_MS = 45_000
/** A campaign changes thousands of rows a second. They are read once for all changes in this time. */
const BURST_MS = 250

export async function readSnapshot(outbox: SupabaseClient, live = false): Promise<Snapshot> {
  const readAt = Date.now()
  return { readAt, live, ...(await latestMessages(outbox)) }
}

/** The latest messages whenever they changed, and null where they did not, until the signal ends it. */
export async function* watchMessages(outbox: SupabaseClient, signal: AbortSignal): AsyncGenerator<Snapshot | null> {
  const changes = listen(outbox)
  let shown = ''
  try {
    while (!signal.aborted) {
      const snapshot = await readSnapshot(outbox, changes.live)
      const seen = JSON.stringify({ ...snapshot, readAt: 0 })
      yield seen === shown ? null : snapshot
      shown = seen
      await changes.next(signal)
    }
  } finally {
    changes.close()
  }
}

/** Listens to Realtime. It is live once Realtime confirms the table; a project without Realtime never gets there. */
function listen(outbox: SupabaseClient) {
  let live = false
  let changed = Promise.withResolvers<void>()
  const becomes = (state: boolean) => {
    live = state
    changed.resolve()
  }
  const channel = outbox
    .channel(`outbox-${randomUUID()}`)
    .on('postgres_changes', { event: '*', schema: 'public', table: 'outbox' }, () => changed.resolve())
    .on('system', {}, (said: { extension?: string; status?: string }) => {
      if (said.extension === 'postgres_changes') becomes(said.status === 'ok')
    })
    // A subscribed channel is not enough: Realtime accepts it also for a table that is not in its publication.
    .subscribe((state) => {
      if (state !== 'SUBSCRIBED' && live) becomes(false)
    })
  return {
    get live() {
      return live
    },
    async next(signal: AbortSignal): Promise<void> {
      await Promise.race([changed.promise, pause(live ? LIVE_POLL_MS : POLL_MS, signal)])
      await pause(BURST_MS, signal)
      changed = Promise.withResolvers()
    },
    close() {
      void outbox.removeChannel(channel)
    },
  }
}

/** Ends early with the signal. */
function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve()
    const end = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', end)
      resolve()
    }
    const timer = setTimeout(end, milliseconds)
    signal.addEventListener('abort', end)
  })
}
