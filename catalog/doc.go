// Package catalog knows which providers there are while athd runs: those of the
// files, and those that operators added by the API, which are in the store. Start
// at [New].
//
//	files ──────────┐
//	                ├─▶ Catalog ── configured ──▶ issuer.Keeper ── with endpoints ──▶ provider.Providers
//	store ── feed ──┘
//
// A name that the files have is theirs, also where the store has a provider of the
// same id ([Catalog.Shadowed]). A record that this athd cannot read, since a newer one
// wrote it or its preset is gone, makes its own provider unavailable and no other.
//
// What is written here is in use here before the call returns; on every other replica
// it is as soon as the change feed tells, and at the latest when that compares.
//
// A provider that is removed serves nobody from then on. It stays in the store until
// its connections have ended and are revoked at the OAuth server, which whichever
// replica does that comes first; so do the connections of a configuration that was
// changed (O-2).
package catalog
