"""Puts released schema files into a user's Supabase project. Talks to no database."""
