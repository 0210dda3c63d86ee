-- No lookup takes messages out of a dispatch any more.
drop function outbox_engine.remove_members(uuid, text[]);
