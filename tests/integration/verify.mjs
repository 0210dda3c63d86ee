// Verifies requests as a server in JavaScript does, with the official library, and prints the events. A changed body is refused.
import { createRequire } from 'node:module'
import { text } from 'node:stream/consumers'

const { Webhook } = createRequire(process.env.NODE_PACKAGES)('standardwebhooks')
const webhook = new Webhook(process.env.OUTBOX_EVENTS_SECRET)

const events = JSON.parse(await text(process.stdin)).map(({ headers, body }) => {
  try {
    webhook.verify(`${body} `, headers)
  } catch {
    return webhook.verify(body, headers)
  }
  throw new Error('a changed body was verified')
})
console.log(JSON.stringify(events))
