"""The words that come with the outbox: upgrades, restores and scripts leave a project's own words and removals alone."""

from sandbox.local.stack import LocalStack
from tests.integration.test_schema import MIGRATIONS, project
from tests.stack import Connection

DUMPED = ("public.outbox_opt_out_words", "outbox_engine.seeds")


def effects(db: Connection, *words: str) -> dict[object, object]:
    """Of those that are on the list."""
    rows = db.execute("select word, effect from public.outbox_opt_out_words where word = any(%s)", [list(words)])
    return dict(rows.fetchall())  # type: ignore[arg-type]


def test_upgrade_keeps_own_words_and_removals(local_stack: LocalStack) -> None:
    with project(local_stack, MIGRATIONS[0]) as db:
        db.execute("delete from public.outbox_opt_out_words where word = 'END'")
        db.execute("update public.outbox_opt_out_words set effect = 'none' where word = 'CANCEL'")
        db.execute("insert into public.outbox_opt_out_words (word, effect) values ('Baja', 'none'), ('danke', 'stop')")
        db.execute("insert into public.outbox_opt_out_words (word, effect) values ('کافی', 'stop')")
        for migration in MIGRATIONS[1:]:
            db.execute(migration.replace(" concurrently", "").encode())

        assert effects(db, "END", "CANCEL", "BAJA", "DANKE", "STOPP") == {
            "CANCEL": "none", "BAJA": "none", "DANKE": "stop", "STOPP": "stop",
        }  # fmt: skip
        assert db.execute("select effect from outbox_engine.read_reply('کافی!', '')").fetchone() == ("stop",)
        assert db.execute("select source from public.outbox_opt_out_words where word = 'STOP'").fetchone() == ("FCC",)


def test_removed_default_stays_removed(local_stack: LocalStack) -> None:
    with project(local_stack, *MIGRATIONS) as db:
        db.execute("delete from public.outbox_opt_out_words where word in ('STOPP', 'BAJA', 'DANKE', 'NICHT')")
        db.execute("select outbox_engine.seed()")
        assert effects(db, "STOPP", "BAJA", "DANKE", "NICHT") == {}


def test_restored_rows_keep_own_words_and_removals(local_stack: LocalStack) -> None:
    """A dump of the rows alone, restored as docs/operating.md says, then the next release's seed."""
    with project(local_stack, *MIGRATIONS) as db:
        db.execute("delete from public.outbox_opt_out_words where word = 'STOPP'")
        db.execute("insert into public.outbox_opt_out_words (word, effect) values ('genug', 'stop'), ('ALTO', 'none')")
        dump = {table: db.execute(f"select to_jsonb(t)::text from {table} t").fetchall() for table in DUMPED}

    with project(local_stack, *MIGRATIONS) as db:
        for table, rows in dump.items():
            db.execute(f"delete from {table}")
            for (row,) in rows:
                db.execute(f"insert into {table} select * from jsonb_populate_record(null::{table}, %s)", [row])
        db.execute("select outbox_engine.seed()")

        assert effects(db, "STOPP", "GENUG", "ALTO", "STOP") == {"GENUG": "stop", "ALTO": "none", "STOP": "stop"}


def test_own_word_replaces_a_default_once(local_stack: LocalStack) -> None:
    """A script of an older release may insert a word that is a default now; its own row is no default."""
    insert = "insert into public.outbox_opt_out_words (word, effect) values ('Baja!', 'stop')"
    with project(local_stack, *MIGRATIONS) as db:
        db.execute(insert)
        db.execute("insert into public.outbox_opt_out_words (word, effect) values ('alto', 'none') on conflict do nothing")
        assert effects(db, "BAJA", "ALTO") == {"BAJA": "stop", "ALTO": "none"}
        own = "select count(*) from public.outbox_opt_out_words where word = 'BAJA' and source is null"
        assert db.execute(own).fetchone() == (1,)
        db.execute(f"{insert} on conflict do nothing")
        assert db.execute(own).fetchone() == (1,)


def test_every_default_is_read_as_it_stands(db: Connection) -> None:
    """No default is hidden by another, such as a stop word that is a polite word too."""
    lost = db.execute(
        "select word, d.effect from (select * from outbox_engine.default_stop_words() union all"
        " select * from outbox_engine.default_polite_words() union all select * from outbox_engine.default_negations()) d,"
        " unnest(string_to_array(d.words, '|')) word"
        " where not exists (select from outbox_engine.words_for('') w"
        "  where w.word = outbox_engine.normalized_word(word) and w.effect = d.effect)"
    ).fetchall()
    assert lost == []
