"""The ``aime-agent`` command.

| file | what |
|---|---|
| `main` | reads the words, runs the verb, turns errors into one line and an exit code |
| `options` | one dataclass per verb; its documentation is the help |
| `commands` | what each verb does; `quickstart`, `bench` and `bench_objects` have files of their own |
| `checks`, `runs` | what is refused early; the run that a verb is given |
"""
