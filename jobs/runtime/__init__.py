"""What every job and process stands on: settings, the environment, logs, phone numbers, and the base of a job."""
