"""PACKAGE meta: learners over families of tasks.

| file | what |
|---|---|
| `token_policy` | a recurrent policy over the tokens of a law |
| `proposers` | who writes laws: random search, and risk-seeking policy search |
| `search` | the loop that counts, scores, stops, and keeps the best law |
| `discover` | one law for one task, recognised and written down |
| `families` | where tasks come from |
| `config` | settings of meta-training |
| `rollouts`, `experience` | episodes of one task, played as adaptation does |
| `advantages` | how much better than usual an action was |
| `inner_loop` | adaptation, and the surrogate it is adapted on |
| `meta_loss` | what the outer loop minimises |
| `attention_analysis` | where the policy looked, in numbers and pictures |
| `journal` | metrics, returns per task, laws that were found |
| `trainer` | `EnhancedMAMLTrainer` |
| `growth` | a law that grows on film, with the attention of who writes it |
| `janus` | the seed's import paths |
| `named`, `presets` | families and settings by name |
| `adaptation`, `restored` | what adaptation gains on new tasks, from a checkpoint |
| `adaptation_arms`, `adaptation_bench`, `adaptation_report` | does meta-training pay, and which part of it |
"""
