drop function outbox_engine.delete_messages(bigint[]);
drop function outbox_engine.count_pruned(bigint[]);
