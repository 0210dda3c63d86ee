import type { NextConfig } from 'next'

const config: NextConfig = {
  poweredByHeader: false,
  // Without it, Next takes a lock file in a folder above for the root of the app.
  turbopack: { root: import.meta.dirname },
}

export default config
