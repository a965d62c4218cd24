"""PACKAGE meta: learners over families of tasks.

| file | what |
|---|---|
| `token_policy` | a recurrent policy over the tokens of a law |
| `proposers` | who writes laws: random search, and risk-seeking policy search |
| `search` | the loop that counts, scores, stops, and keeps the best law |
| `discover` | one law for one task, recognised and written down |
"""
