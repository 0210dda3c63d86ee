"""What Supabase Auth does, for tests: it cannot be run here."""
