"""Every call to Supabase, its values and its errors. Import the modules: only `gateway` and `rpc` load the client."""
