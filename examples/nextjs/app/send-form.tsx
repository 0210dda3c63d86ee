'use client'

import { useActionState } from 'react'

import { send } from './actions.ts'
import { Refused } from './refused.tsx'

export function SendForm({ firstKey }: { firstKey: string }) {
  const [state, action, isSending] = useActionState(send, { key: firstKey, recipient: '', body: '' })
  return (
    <form action={action} aria-describedby="outcome">
      <label htmlFor="recipient">To</label>
      <input id="recipient" name="recipient" type="tel" autoComplete="tel" placeholder="+12025550123" defaultValue={state.recipient} />
      <label htmlFor="body">Text</label>
      <textarea id="body" name="body" rows={3} defaultValue={state.body} />
      <label htmlFor="delay">When</label>
      <select id="delay" name="delay" defaultValue="0">
        <option value="0">Now</option>
        <option value="60">In one minute</option>
        <option value="3600">In one hour</option>
        <option value="86400">In one day</option>
      </select>
      {/* autoComplete: a browser that restores the form would bring back a key that was used. */}
      <input type="hidden" name="key" value={state.key} autoComplete="off" />
      <button disabled={isSending}>{isSending ? 'Sending…' : 'Send'}</button>
      <div id="outcome">
        {state.problem && <Refused problem={state.problem} />}
        <p role="status">{state.notice}</p>
      </div>
    </form>
  )
}
