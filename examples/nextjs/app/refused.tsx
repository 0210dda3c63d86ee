import type { Problem } from '../lib/outbox.ts'

/** What is wrong and what to do, in the words of the database. */
export function Refused({ problem }: { problem: Problem }) {
  return (
    <p role="alert">
      {problem.message}. {problem.hint}
    </p>
  )
}
