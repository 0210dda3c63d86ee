"""The dashboard: pages for operators, in a process of their own."""
