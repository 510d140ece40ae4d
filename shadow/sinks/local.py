"""The sink of one machine: a shadow.worker.Worker in the shipper's own process, and the database."""

from __future__ import annotations

from pathlib import Path

from gateway.config import Config
from shadow import alarms, database, store
from shadow.batch import Batch
from shadow.compare import Rules
from shadow.judge import Judge
from shadow.paths import PatternError
from shadow.redact import Redactor, load_key
from shadow.rule_source import RuleSource
from shadow.sinks import SinkError
from shadow.worker import Worker


def rules_of(config: Config) -> dict[str, Rules]:
    """Route → how its answers are compared.

    Raises:
        ValueError: a rule is none.
    """
    return {route.name: Rules.make(**route.shadow.compare.model_dump()) for route in config.routes}


def redaction(config: Config) -> tuple[Path, Redactor, dict[str, Rules]]:
    """The folder of what belongs to this installation, the redactor with its key, and the rules.

    Raises:
        SinkError: something in the configuration can't be used.
    """
    folder = Path()
    try:
        folder = database.state_folder(config.shadow.database, config.folder)
        rules = rules_of(config)
        return folder, Redactor(config.shadow.redact, load_key(folder / "redact.key"), config.shadow.redact_patterns), rules
    except (PatternError, database.DatabaseURLError, ValueError) as error:
        raise SinkError(f"{config.path}: {error}") from error
    except OSError as error:
        raise SinkError(f"{config.path}: {error.filename or folder}: {error.strerror}") from error


def local(config: Config) -> Worker:
    """A worker as `config` wants it.

    Raises:
        SinkError: something in the configuration can't be used.
    """
    folder, redactor, rules = redaction(config)
    try:
        store.setup(config.shadow.database, config.folder)
    except (database.DatabaseURLError, store.StoreError) as error:
        raise SinkError(f"{config.path}: {error}") from error
    except OSError as error:
        raise SinkError(f"{config.path}: {error.filename or folder}: {error.strerror}") from error

    def write(batch: Batch) -> None:
        store.renew_connection()
        store.write(batch)

    def upkeep(now: float) -> None:
        store.roll_up(now)
        store.purge(now, config.shadow.retention)
        alarms.raise_alarms(now)

    return Worker(
        Judge(redactor, rules),
        prepare=lambda: store.migrate(folder),
        write=write,
        upkeep=upkeep,
        close=store.close_connection,
        rules=RuleSource().poll,
        processes=config.shadow.processes,
    )
