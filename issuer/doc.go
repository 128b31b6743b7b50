// Package issuer keeps the metadata of OAuth servers for providers that say
// their issuer and no endpoints. Start at [New].
//
// The first document that is fetched is kept in the store, and its endpoints
// are pinned: a later one that moves an endpoint to another host is held back
// until an operator accepts it ([Keeper.Accept]), and the endpoints before go on
// meanwhile. Whoever controls an issuer's metadata for an hour could otherwise
// have users' codes and athd's own secret sent to a host of theirs.
//
// All athd of one store share the record: it is asked for by one at a time,
// about once a day, and those that start without the server go by what is
// kept.
//
//	store ── record ──▶ Keeper ── provider.With ──▶ provider.Providers
//	                      │ ▲
//	             due: one of all athd asks the issuer
package issuer
