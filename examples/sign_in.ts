// Signs in by phone with a one-time code that Supabase Auth sends through the outbox. docs/auth.md turns that on.
//
//   node sign_in.ts +12025550123
//
// Needs SUPABASE_URL and SUPABASE_PUBLISHABLE_KEY. In an app the same two calls run in the browser.
import { createInterface } from 'node:readline/promises'
import { type AuthError, createClient } from '@supabase/supabase-js'

const { SUPABASE_URL, SUPABASE_PUBLISHABLE_KEY } = process.env
if (!SUPABASE_URL || !SUPABASE_PUBLISHABLE_KEY) throw new Error('set SUPABASE_URL and SUPABASE_PUBLISHABLE_KEY')
const supabase = createClient(SUPABASE_URL, SUPABASE_PUBLISHABLE_KEY, { auth: { persistSession: false, autoRefreshToken: false } })

// 422: not a number, or no texts can be sent to it. 429: too many codes. 503: try again in a moment. docs/auth.md lists them.
function stop(error: AuthError): never {
  console.error(`${error.status}: ${error.message}`)
  process.exit(1)
}

const phone = process.argv[2] ?? '+12025550123'
const asked = await supabase.auth.signInWithOtp({ phone })
if (asked.error) stop(asked.error)

const terminal = createInterface({ input: process.stdin, output: process.stdout })
const token = await terminal.question(`The code that ${phone} got: `)
terminal.close()

const verified = await supabase.auth.verifyOtp({ phone, token: token.trim(), type: 'sms' })
if (verified.error) stop(verified.error)
console.log(`signed in as ${verified.data.user?.id}, phone +${verified.data.user?.phone}`)
