-- What the codes of each provider mean, and do. A code belongs to one provider: reports that wait for their
-- batch name none.

-- Called by `seed`. The codes of the providers that the engine knows.
create function outbox_engine.seed_report_codes() returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  perform outbox_engine.seed_sinch_codes();
  perform outbox_engine.seed_vonage_codes();
end
$$;

create function outbox_engine.seed_sinch_codes() returns void
language sql set search_path = pg_catalog, pg_temp
as $$
  insert into outbox_engine.report_codes (provider, code, meaning, effect) values
    ('sinch', 402, 'message unroutable', null),
    ('sinch', 403, 'internal error at the provider', null),
    ('sinch', 404, 'temporary delivery failure', 'retry'),
    ('sinch', 405, 'a placeholder without a value', null),
    ('sinch', 406, 'expired before it reached the carrier', null),
    ('sinch', 407, 'cancelled', null),
    ('sinch', 408, 'rejected by the provider', null),
    ('sinch', 410, 'no default sender matches', null),
    ('sinch', 411, 'too many parts', null),
    ('sinch', 412, 'region not provisioned', null),
    ('sinch', 413, 'account blocked', 'account'),
    ('sinch', 414, 'the media_url could not be fetched, or is no media', null),
    ('sinch', 415, 'MMS refused by the gateway or the network', null),
    ('sinch', 416, 'MMS not supported by the network', null),
    ('sinch', 417, 'network or phone not reachable by MMS', null),
    ('sinch', 418, 'the phone cannot show this MMS', null),
    ('sinch', 15, 'screened by the carrier', null),
    ('sinch', 60, 'sender blocked', null),
    ('sinch', 62, 'taken for spam', null),
    ('sinch', 64, 'quota exceeded', null),
    ('sinch', 152, 'sender not provisioned', null),
    ('sinch', 257, 'recipient opted out', 'opt_out')
  on conflict (provider, code) do update set meaning = excluded.meaning, effect = excluded.effect
$$;

-- The same codes as in jobs/providers/vonage/codes.py. Vonage does not say where 1000 stops a message: a text
-- that was submitted to a network is not sent again for it. 1240 is a STOP that Vonage keeps. 1050 is not:
-- Vonage or a carrier may bar a number for its own reasons, and another provider may still send to it.
create function outbox_engine.seed_vonage_codes() returns void
language sql set search_path = pg_catalog, pg_temp
as $$
  insert into outbox_engine.report_codes (provider, code, meaning, effect) values
    ('vonage', 1000, 'sent faster than the account may', 'retry_unless_dispatched'),
    ('vonage', 1010, 'a parameter is missing', null),
    ('vonage', 1020, 'a parameter is invalid', null),
    ('vonage', 1021, 'invalid tag', null),
    ('vonage', 1022, 'invalid template', null),
    ('vonage', 1030, 'internal error at Vonage', null),
    ('vonage', 1040, 'invalid message, or an unknown prefix of the number', null),
    ('vonage', 1050, 'number barred', null),
    ('vonage', 1060, 'account barred', 'account'),
    ('vonage', 1070, 'credit or quota of the account used up', 'account'),
    ('vonage', 1080, 'account not enabled for this API', 'account'),
    ('vonage', 1090, 'binary message too long', null),
    ('vonage', 1100, 'communication failed inside Vonage', null),
    ('vonage', 1120, 'sender not allowed in this country', null),
    ('vonage', 1130, 'invalid ttl', null),
    ('vonage', 1140, 'feature not enabled on the account', null),
    ('vonage', 1150, 'invalid message class', null),
    ('vonage', 1160, 'number not among those the account may send to', null),
    ('vonage', 1170, 'recipient invalid', null),
    ('vonage', 1180, 'recipient temporarily unavailable', null),
    ('vonage', 1190, 'number no longer in use', null),
    ('vonage', 1200, 'number was ported, and the carrier has an error', null),
    ('vonage', 1210, 'taken for spam by the carrier', null),
    ('vonage', 1220, 'phone busy or off', null),
    ('vonage', 1230, 'temporary failure in the network', null),
    ('vonage', 1240, 'recipient opted out', 'opt_out'),
    ('vonage', 1241, 'too many texts to this number', null),
    ('vonage', 1242, 'number pool does not exist', null),
    ('vonage', 1250, 'no route to this number', null),
    ('vonage', 1251, 'no route to this network', null),
    ('vonage', 1260, 'destination unreachable', null),
    ('vonage', 1270, 'blocked for the age of the subscriber', null),
    ('vonage', 1280, 'blocked by the carrier', null),
    ('vonage', 1282, 'refused by a policy of the carrier', null),
    ('vonage', 1290, 'recipient has no prepaid credit', null),
    ('vonage', 1300, 'number of no user in the network', null),
    ('vonage', 1310, 'phone not able to receive it', null),
    ('vonage', 1320, 'already sent, says Vonage', null),
    ('vonage', 1330, 'the network says unknown: the phone may have it', null),
    ('vonage', 1331, 'a carrier does not answer', null),
    ('vonage', 1360, 'expired before it was delivered', null),
    ('vonage', 1380, 'media URL cannot be fetched', null),
    ('vonage', 1381, 'media too large', null),
    ('vonage', 1382, 'media of an unsupported type', null),
    ('vonage', 1400, 'channel not supported', null),
    ('vonage', 1410, 'a parameter of the channel is invalid', null),
    ('vonage', 1420, 'invalid sender', null),
    ('vonage', 1430, 'invalid recipient', null),
    ('vonage', 1431, 'more than one recipient', null),
    ('vonage', 1440, 'type of message not supported', null),
    ('vonage', 1450, 'invalid client_ref', null),
    ('vonage', 1451, 'invalid context', null),
    ('vonage', 1460, 'daily limit exceeded, such as 10DLC', null),
    ('vonage', 1461, 'held back to spare the recipient', null),
    ('vonage', 1470, 'blocked by Fraud Defender: traffic rule', null),
    ('vonage', 1472, 'blocked by Fraud Defender: burst', null),
    ('vonage', 1473, 'blocked by Fraud Defender: inflated traffic', null),
    ('vonage', 1474, 'blocked by Fraud Defender: country', null),
    ('vonage', 1475, 'blocked by Fraud Defender: network', null),
    ('vonage', 1476, 'sender on a do-not-originate list', null),
    ('vonage', 1480, 'entity_id wrong or missing', null),
    ('vonage', 1481, 'sender header wrong or missing', null),
    ('vonage', 1482, 'content_id wrong or missing', null),
    ('vonage', 1483, 'consent not registered', null),
    ('vonage', 1484, 'sender failed a check of rules', null),
    ('vonage', 1490, 'receipts of some parts are missing', null)
  on conflict (provider, code) do update set meaning = excluded.meaning, effect = excluded.effect
$$;
