"""Development tools: a local Supabase, a Sinch simulator and the demo."""
