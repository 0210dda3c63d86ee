import 'server-only'

import { createClient, type SupabaseClient } from '@supabase/supabase-js'

let client: SupabaseClient | undefined

/** The outbox as your server sees it: with the secret key, which never reaches a browser. */
export function outboxClient(): SupabaseClient {
  client ??= createClient(setting('SUPABASE_URL'), setting('SUPABASE_SECRET_KEY'), {
    auth: { persistSession: false, autoRefreshToken: false },
  })
  return client
}

function setting(name: string): string {
  const value = process.env[name]
  if (!value) throw new Error(`${name} is not set. Put it into .env.local; .env.example says where to find it.`)
  return value
}
