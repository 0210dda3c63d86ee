-- Lookups ask whether a report without a reference names a number of their dispatch.
create index waiting_reports_unreferenced on outbox_engine.waiting_reports (((report).recipient))
  where reference is null;
-- functions
