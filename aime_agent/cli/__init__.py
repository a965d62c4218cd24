"""The ``aime-agent`` command.

| file | what |
|---|---|
| `main` | reads the words, runs the verb, turns errors into one line and an exit code |
| `options` | one dataclass per verb; its documentation is the help |
| `words` | what was typed, before it means anything |
| `commands` | what each verb does; `datasets`, `quickstart`, `bench`, `bench_objects` are files |
| `checks`, `runs` | what is refused early; the run that a verb is given |
"""
