drop function outbox_engine.delete_messages(bigint[]);
drop function outbox_engine.count_pruned(bigint[]);
-- No lookup takes messages out of a dispatch any more.
drop function outbox_engine.remove_members(uuid, text[]);
