"""What only development needs: a local Supabase, a Sinch simulator and the demo."""
