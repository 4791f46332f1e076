"""The command `asyncred`, from words to settings (config/) to whoever does the work."""
