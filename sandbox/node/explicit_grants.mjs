// Loaded into Supabase Lite with `node --import`, before it starts.
//
// At its first request Lite grants everything on every table to anon, authenticated and service_role, in each schema that has a
// table with row level security. Supabase does no such thing: there, what the migrations grant is what holds. The roles are made
// when the database is, so nothing of what Lite prepares is needed.
import { PostgresConnection } from "@supabase/lite/postgres";

if (typeof PostgresConnection?.prototype?.ensureRlsContext !== "function") {
  console.error("explicit_grants: this version of @supabase/lite has no ensureRlsContext, so its grants cannot be held back");
  process.exit(70);
}

PostgresConnection.prototype.ensureRlsContext = async function () {
  this.rlsState = "active";
  return true;
};
