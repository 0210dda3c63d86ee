// What an Edge Function uses of Deno, on Node: its settings, and a server that speaks Request and Response. Prints its port.
import { createServer } from 'node:http'
import { text } from 'node:stream/consumers'

async function answer(handler, incoming, outgoing) {
  const { method, url, headers } = incoming
  const body = await text(incoming)
  const response = await handler(new Request(`http://function${url}`, { method, headers, body: body || undefined }))
  outgoing.writeHead(response.status, Object.fromEntries(response.headers)).end(await response.text())
}

globalThis.Deno = {
  env: { get: (name) => process.env[name] },
  serve(handler) {
    const server = createServer((incoming, outgoing) => answer(handler, incoming, outgoing))
    server.listen(0, '127.0.0.1', () => console.log(server.address().port))
  },
}
