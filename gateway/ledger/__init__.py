"""The ledger of split routes: which key was sent where, and what came of it (design, section 8; docs/adr/0017).

entries.py  what is written and told      sealing.py  digests, and answers that only the same request opens
database.py SQLite or PostgreSQL          book.py     every statement
desk.py     the workers' side: threads, timeouts  questions.py  what waits for the database
upkeep.py   the dead, the old, and the clock
"""
