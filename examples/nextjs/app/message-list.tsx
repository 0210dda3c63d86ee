'use client'

import { useActionState, useEffect, useState, useSyncExternalStore } from 'react'

import type { Snapshot } from '../lib/live.ts'
import type { Message } from '../lib/outbox.ts'
import { cancel } from './actions.ts'
import { Refused } from './refused.tsx'

const CANCELLABLE = new Set(['scheduled', 'pending', 'sending'])

export function MessageList({ first }: { first: Snapshot }) {
  const { snapshot, isConnected } = useSnapshots(first)
  const [outcome, action, isCancelling] = useActionState(cancel, {})
  return (
    <section aria-labelledby="messages">
      <h2 id="messages">Messages</h2>
      <p className="quiet">{connection(snapshot, isConnected)}</p>
      {snapshot.problem && <Refused problem={snapshot.problem} />}
      {outcome.problem && <Refused problem={outcome.problem} />}
      <p role="status">{outcome.notice}</p>
      <form action={action}>
        <table>
          <thead>
            <tr>
              <th scope="col">No.</th>
              <th scope="col">Status</th>
              <th scope="col">To</th>
              <th scope="col">Text</th>
              <th scope="col">Due</th>
              <th scope="col">
                <span className="hidden">Cancel</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {snapshot.messages?.map((message) => (
              <Row key={message.id} message={message} isCancelling={isCancelling} />
            ))}
          </tbody>
        </table>
      </form>
      {snapshot.messages?.length === 0 && <p className="quiet">No messages yet.</p>}
    </section>
  )
}

function Row({ message, isCancelling }: { message: Message; isCancelling: boolean }) {
  return (
    <tr>
      <td>{message.id}</td>
      <td aria-live="polite">
        <span className={`status ${message.status}`}>{message.status}</span>
        {message.error && <small>{message.error}</small>}
      </td>
      <td>{message.recipient}</td>
      <td className="text">{message.body ?? <em>one-time code</em>}</td>
      <td>
        <LocalTime at={message.send_at} />
      </td>
      <td>
        {CANCELLABLE.has(message.status) && (
          <button name="id" value={message.id} disabled={isCancelling} aria-label={`Cancel message ${message.id}`}>
            Cancel
          </button>
        )}
      </td>
    </tr>
  )
}

/** The server does not know the reader's time zone, so the local time comes with the browser. */
function LocalTime({ at }: { at: string }) {
  const isBrowser = useSyncExternalStore(
    () => () => {},
    () => true,
    () => false,
  )
  const iso = at.replace(' ', 'T').replace(/\+00$/, 'Z') // the local server's spelling, which not every browser reads
  return <time dateTime={iso}>{isBrowser ? new Date(iso).toLocaleString() : iso}</time>
}

/** The newest of what the page came with and what the stream of events brought. */
function useSnapshots(first: Snapshot): { snapshot: Snapshot; isConnected: boolean | null } {
  const [latest, setLatest] = useState(first)
  const [isConnected, setConnected] = useState<boolean | null>(null)
  useEffect(() => {
    const events = new EventSource('/live')
    events.onopen = () => setConnected(true)
    events.onerror = () => setConnected(false)
    events.onmessage = (event: MessageEvent<string>) => {
      // A snapshot with a problem has no messages: the last ones stay on the page.
      setLatest(({ messages = [] }) => ({ messages, ...(JSON.parse(event.data) as Snapshot) }))
    }
    return () => events.close()
  }, [])
  return { snapshot: first.readAt > latest.readAt ? first : latest, isConnected }
}

function connection(snapshot: Snapshot, isConnected: boolean | null): string {
  if (isConnected === null) return 'Connecting…'
  if (!isConnected) return 'The connection is lost. Trying again…'
  return snapshot.live ? 'Live, by Supabase Realtime.' : 'Looked up every two seconds: Realtime is not there.'
}
