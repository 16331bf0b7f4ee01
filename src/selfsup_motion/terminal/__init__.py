"""What a person sees of a command: its arguments, messages and progress."""
