import type { NextRequest } from 'next/server'

import { lacksPassword, mayUse } from './lib/access.ts'

/** Asks for the password before anything of the page is shown. */
export function proxy(request: NextRequest): Response | undefined {
  if (lacksPassword()) {
    return new Response('Set APP_PASSWORD: without it, anyone who opens this page could send texts.\n', { status: 503 })
  }
  if (mayUse(request.headers.get('authorization'))) return undefined
  return new Response('Wrong password. The user name may be anything.\n', {
    status: 401,
    headers: { 'WWW-Authenticate': 'Basic realm="outbox", charset="UTF-8"' },
  })
}
