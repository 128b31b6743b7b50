// Package vault keeps users' OAuth tokens usable: it refreshes a connection's
// access token before it ends, or when a decision finds it ended, with exactly one
// call to the provider over all replicas of athd. Start at [New]; [Vault.Soon] and
// [Vault.Renew] are what decisions call.
//
// # One call
//
// A refresh token may be good for one use, and a second use may end the user's
// whole grant. So the call is made by one replica, under a lease in Redis, and is
// never made again because it took too long:
//
//	read       the connection, the lease and the last attempt, at one moment
//	begin      take the lease and write an attempt down, if all is as it was read:
//	           this proves that Redis takes writes before anything is spent
//	call       the provider, once; the lease is renewed meanwhile
//	finish     replace the connection as it was read, and remove attempt and lease
//
// Who finds the lease taken reads again until the connection is new. Who finds an
// attempt without a lease knows that its outcome is unknown: its athd has died, is
// stopped or cut off, or the provider did not answer. Not before that call must
// have ended there is one more, alone; and before it is made, whoever may still
// have the outcome of the first gets the time to store it. While providers give no
// answer the pauses grow.
//
// # What came back is written
//
// The new tokens are used by nobody before they are stored. Where Redis is away
// they stay in memory, and are written until that succeeds, through a drain, too.
// A connection that has ended meanwhile stays ended.
//
// # What ends a grant
//
// That the provider refuses the refresh token ([provider.Provider.RefusesRefresh]),
// and nothing else. The access token is used until its end, then the user must
// authorize again (P-6). The refused token stays sealed for a day, and is tried
// once more if the agent comes back later: a disabled user may be enabled again.
package vault
