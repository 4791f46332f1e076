"""Settings, declared once: for the command line, YAML files and the documents. What they do is the solver's matter."""
