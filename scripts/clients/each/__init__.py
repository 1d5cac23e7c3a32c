"""One module a client: `version(work)` says what runs, `run(work)` uses it with its default settings and checks every byte."""
