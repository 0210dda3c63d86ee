-- MMS: messages with the URL of a picture or another file. The provider fetches it, the outbox never does.

-- The channel of a message that is not plainly an SMS. Refuses what no provider can send. What the file is
-- shows when the provider fetches it, so endings that are not listed here pass. Errors do not quote the URL:
-- it may be a secret link.
create function outbox_engine.checked_channel(r public.outbox) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_host constant text := substring(r.media_url from '^https://([^/?#]*)');
  v_ending constant text := lower(
    substring(r.media_url from '^https://[^/?#]+/[^?#]*\.([[:alnum:]]+)(?:[?#]|$)'));
begin
  if coalesce(r.channel, 'sms') not in ('sms', 'mms') then
    perform outbox_engine.refuse(
      format('channel %L is neither sms nor mms', r.channel),
      'Leave it out: media_url makes a message an MMS.');
  elsif r.media_url is null then
    if r.channel = 'mms' then
      perform outbox_engine.refuse(
        'channel is mms and there is no media_url',
        'Give media_url the https URL of a picture, or leave channel out to send an SMS.');
    end if;
  elsif r.secret then
    perform outbox_engine.refuse(
      'a secret message has a media_url',
      'The engine removes its text, and cannot remove the file. Leave one of them out.');
  elsif char_length(r.media_url) > 2048 then
    perform outbox_engine.refuse(
      format('media_url has %s characters, 2048 are allowed', char_length(r.media_url)));
  elsif v_host is null then
    perform outbox_engine.refuse(
      'media_url does not begin with https://', 'The provider fetches the file from a public https URL.');
  elsif r.media_url ~ '[[:space:][:cntrl:]]' then
    perform outbox_engine.refuse('media_url holds a space or a line break', 'Write a space as %20.');
  elsif strpos(v_host, '@') > 0 then
    perform outbox_engine.refuse(
      'media_url holds a user or a password', 'Use a URL that needs neither, such as a signed one.');
  elsif v_host !~ '^([^:\[\]\\]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?$' then
    perform outbox_engine.refuse('media_url names no host', 'Write it as https://example.com/picture.jpg.');
  elsif v_ending in ('htm', 'html', 'svg', 'webp', 'heic', 'heif', 'avif') then
    perform outbox_engine.refuse(
      format('media_url names a .%s file, which phones do not show', v_ending),
      'JPEG, PNG and GIF arrive on most phones.');
  end if;
  return case when r.media_url is null then 'sms' else 'mms' end;
end
$$;

-- Runs before an update that makes a message an MMS, or changes one. Not a constraint: every update of each
-- SMS would check it again. Retention removes the URL of a final message and leaves the channel.
create function outbox_engine.before_media_change() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  new.channel := outbox_engine.checked_channel(new);
  return new;
end
$$;
create trigger outbox_e_media before update of media_url, channel, secret on public.outbox for each row
  when (new.media_url is not null or new.channel <> 'sms' and new.finalized_at is null)
  execute function outbox_engine.before_media_change();
