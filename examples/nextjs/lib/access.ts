import 'server-only'

import { createHash, timingSafeEqual } from 'node:crypto'

const LOCAL = new Set(['127.0.0.1', 'localhost', '[::1]'])

/** True if no password is set and the project is not on this machine. Then the page stays closed. */
export function lacksPassword(): boolean {
  const url = process.env.SUPABASE_URL
  return !process.env.APP_PASSWORD && !(url && LOCAL.has(new URL(url).hostname))
}

/**
 * Whether this `Authorization` header (or its absence) may use the page. A server action is an address that anyone can post to,
 * so each one asks again. Put the sign-in of your app here.
 */
export function mayUse(authorization: string | null): boolean {
  if (lacksPassword()) return false
  if (!process.env.APP_PASSWORD) return true
  const credentials = Buffer.from((authorization ?? '').replace(/^Basic /i, ''), 'base64').toString()
  const password = credentials.slice(credentials.indexOf(':') + 1)
  return timingSafeEqual(digest(password), digest(process.env.APP_PASSWORD))
}

/** Comparing digests takes the same time however much of a guess is right. */
function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}
