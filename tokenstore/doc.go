// Package tokenstore keeps what athd must remember: agents, sessions, grants
// and the users' OAuth tokens, sealed, in Redis 7 or newer (or Valkey), so
// that any number of athd run side by side. Start at [Open]; [Store] has one
// method per verb.
//
// # The contract
//
// Each verb is one round trip (those of run-time providers are two) and, where two replicas could meet, atomic:
// create and once are set-if-absent, swap is compare-and-swap over the stored
// bytes, and what touches several keys is one script. No verb waits longer
// than [Config].Timeout, with or without a deadline in its context. After some
// failures in a row a circuit breaker answers in place of an unavailable store,
// and lets one request through every 200 ms to see whether it is available again.
// Reads for decisions that are asked for at the same time share a round trip
// (request coalescing), and a record that has not changed since it was read last
// is not decrypted again (an LRU cache).
//
// A verb fails with one of six errors: [ErrNotFound], [ErrExists] and
// [ErrChanged] are answers of a healthy store, [ErrCorrupt] says that a record
// did not open, [ErrOtherKeyset] that none would, and all that server or
// network do wrong is [ErrUnavailable]; [Reason] says what, for an operator.
// Any other error is the caller's own mistake. After ErrUnavailable a write
// may or may not have happened.
//
// A write whose reply was lost may be sent again, and must not then mistake
// its own first attempt for somebody else's. It does not: every value written
// holds a fresh nonce, so that a write knows its own.
//
// # Keys
//
// What is written together carries one tag, in braces, so that Redis Cluster
// keeps it in one slot. The tag of an agent follows from its id; sessions and
// connections draw theirs at random and pass it on in ath_session_id, state
// and ATH token.
//
//	ath:{agent tag}:agent                    a registration     7 days while pending or denied, else until
//	                                                            30 days after the approval ends; at least 120 days
//	                                                            if an operator denied it anything; suspended: no end
//	ath:{agent tag}:conns                    tags of the        until the last one's end
//	                                         agent's connections
//	ath:{session tag}:session                an authorization   until 10 minutes after it expires
//	ath:{session tag}:ended                  that it ended      as long
//	ath:{connection tag}:conn                a user's tokens    as given, then until its last grant expires
//	ath:{connection tag}:order               when the tokens of a       a minute
//	                                         shared one came, or of one
//	                                         that was healed
//	ath:{connection tag}:sessions            tags of sessions that      until the last one
//	                                         heal it                    expires
//	ath:{connection tag}:lease              an athd refreshes them     some seconds, renewed meanwhile
//	ath:{connection tag}:refresh            a call to the provider     until its outcome is stored, 24 hours at most
//	                                         whose outcome is not stored
//	ath:{connection tag}:grant:<digest>      a grant, or its    until 24 hours after it expires,
//	                                         tombstone          or Config.RememberEnded
//	ath:{connection tag}:renewal:<digest>    a standing         until 24 hours after it ends, or
//	                                         consent, or its    Config.RememberEnded
//	                                         tombstone
//	ath:{connection tag}:grants              digests of the     as long as the last one
//	                                         live grants and
//	                                         renewals, and
//	                                         agents that share it
//	                                         and wait for one
//	ath:{connection tag}:owner               whose it is, and   as long as the connection
//	                                         when it was used
//	ath:{connection tag}:revocation          what is to be      until the provider has revoked it, or
//	                                         revoked at the     31 days after the connection ended
//	                                         provider
//	ath:{revocations}:due                    tags of those, by  no end
//	                                         when they are due
//	ath:{user tag}:waiting                   tags of those that 30 days from the last
//	                                         wait for the user's
//	                                         other connections
//	ath:{keep-alive}:due                     tags of connections whose   until the last one's
//	                                         refresh tokens end, by      refresh token ends
//	                                         when they are to be used
//	ath:{shared tag}:shared-at                where a shared one is whose      until it has ended, or a day after
//	                                         tag is of an earlier key         another key seals
//	ath:{keep-alive}:standing                tags of connections that    until the last one's
//	                                         an agent can renew its      renewal ends
//	                                         access by, as above
//	ath:{user tag}:user-conns                tags of the        until the last one's end
//	                                         user's connections
//	ath:{user tag}:user-ended                when an operator   an hour
//	                                         ended the user at
//	                                         all providers
//	ath:{user tag}:user-ended:<digest>       at one, by the     an hour
//	                                         digest of its name
//	ath:{agent tag}:sessions                 tags of its open    until the last one
//	                                         sessions            expires
//	ath:{pending}:…                          who waits for an    7 days from the last
//	                                         operator, counted
//	ath:{suspended-hosts-}:hosts             hosts that operators       no end
//	                                         suspended, one record
//	ath:{issuer tag}:issuer                  metadata of an OAuth        180 days after the server
//	                                         server (issuer: alone)      answered last
//	ath:{providers}:provider:<tag>           a provider that was         no end
//	                                         added while athd runs
//	ath:{providers}:providers                their tags, by generation   no end
//	ath:{providers}:generation               of the last write to any    no end
//	                                         of them
//	ath:{any tag}:<what>:<digest>            a value used once  as given
//	ath:{changes}:log                        what was revoked or         30 days after the last change; the
//	                                         changed, see [Store.Watch]  last 1,000 of them
//	ath:{canary}:keyset                      proves which keys   no end
//	                                         sealed all this
//	ath:{canary}:retired                     ids of keys that were       no end
//	                                         retired, see [Store.MarkRetired]
//	ath:{canary}:replica:<id>                which keys an athd that     35 seconds
//	                                         runs has, see [Store.Announce]
//	ath:{canary}:replicas                    ids of those                as the last one, and 5 minutes
//
// The tag of a user follows from the id and the keyset: an HMAC with a key that is
// derived from the primary, so that keys tell nobody who is a user here. Below each
// other key of the keyset is looked too, so that rotation loses no entry before it
// loses the records.
//
// The tag of a connection that a user's agents share follows, likewise, from user,
// provider and destination, by another key, so that every replica chooses the same.
//
// A digest is the SHA-256 of a token or value: none is stored itself. Records
// carry their own expiry too, and are returned past it: callers judge by their
// own clock, and can say "expired" instead of "unknown" until the TTL ends.
//
// # At rest
//
// Every record is sealed with the [Keyset], agents and sessions too: who can
// read Redis learns no secret, and who can write to it can delete, but cannot
// mint a grant, approve an agent or finish a session. A stored record is
//
//	version byte || AEAD(JSON)
//
// with the version, the kind of record and the whole key as associated data,
// for connections also agent, user and provider as the opened grant names
// them; for shared ones with no agent, where the grant says that it is shared. So a record that was moved to another key, or a connection that was
// put below another user's grant, does not open; so for the attempts to refresh it. What this cannot prevent is
// that an older state of a record is put back under its own key.
//
// # Keys that rotate
//
// A keyset changes in steps: [Keyset.Add] a key that only opens, [Keyset.Promote]
// it when every replica has it, so that it seals, and [Keyset.Retire] the old one
// when nothing needs it any more. [Store.UseKeyset] takes the next keyset while
// operations go on, and refuses one by which something would be lost. Every athd
// tells which keys it has ([Store.Announce]), so that who rotates can wait for the
// last one ([Store.Replicas]). The canary, and the list of keys that were retired,
// follow the key that seals. A keyset that seals with a retired key is refused as
// another one: it is from before the rotation.
//
// The first bytes of what Tink seals name the key, so that [Store.KeyUses] counts
// what each key of the keyset is needed for, and [Store.Rewrap] seals again what
// another key than the primary has sealed. Before a key leaves the keyset nothing may
// need it:
//
//   - Records. They are replaced by compare-and-swap over the stored bytes, so that
//     whoever writes at the same time wins, keep their TTL, and announce nothing. A
//     swap whose failure nobody could make good (of a session, of a revocation) counts
//     a record as unchanged that was only sealed again. An athd from before that does
//     not: so a session whose code is being redeemed is left for 45 seconds.
//   - Connections and the notes on their refreshes, which are sealed for agent, user
//     and provider: owner or grants say them. An issuer's name is in the configuration.
//     A note without a connection is deleted.
//   - Indexes of users (user-conns, waiting), of which what they lead to says whose they
//     are. Entries are copied to below the primary's tag, and stay where they are too,
//     so that who lists them meanwhile misses none.
//   - Shared connections. ATH tokens carry their tags, so that they stay. The record
//     shared-at, below the tag that the primary gives them, leads the next consent
//     there.
//   - Marks of users' ends. Nobody can tell whose they are. Each is written below the
//     tags of all keys of the keyset, says of which, and goes within an hour.
//
// All else follows from no key. The kinds are in kinds.go, and a test holds that to
// the package. A record of a kind that this athd does not know, as a newer one has
// sealed it, keeps its key from being unused.
//
// # Records that can grow
//
// The JSON has two kinds of members. Those beside x must be understood by
// whoever reads the record: it may be that they restrict. A record with one
// that a reader does not know does not count, and fails as [ErrCorrupt]; nothing
// is guessed. Member x is an object for what does not restrict: a reader may
// ignore what it does not know in it, and must carry it over, unchanged, into
// what it replaces the record by. So an athd that adds a member to a record decides:
//
//   - It restricts: more would be allowed by who reads the record without it. It
//     goes beside x, or under a key of its own, and is written only by a release
//     after the first that reads it, so that one release can be rolled back. An
//     athd from before both refuses records with it.
//   - It does not (a note for people, a statistic, a hint that saves work): in x.
//     After a rollback the older athd works with the record, and nothing is
//     lost by it.
//   - The rest of the record is read wrongly without it: version is raised.
//
// Agents, sessions, grants, renewals, connections, attempts, revocations and run-time providers have one x each, hosts that operators
// suspended one for each entry. Indexes, marks and the canary have none; the
// first two hold tags and digests only, and may be lost.
//
// Members, what each restricts, and which of them commit f1b7ae5 does not know:
//
//	agent       id client secret redirects     who it is, where its users go
//	            approvals until suspended gen  what it may do
//	            name dev purpose at            shown to people; beside x since
//	                                           before there was one
//	session     all but said                   what may follow, and for whom. shared is not in
//	                                           f1b7ae5 and v0.1.0, nor renewal, heals and gen in
//	                                           058ce80 and before, which refuse such a session
//	            x: dest bound                  what the user is asked to agree to (O-2). Not in 058ce80
//	                                           and before, which redeem a code wherever the provider
//	                                           is by then
//	            said                           nothing: shown to people. Not in
//	                                           f1b7ae5, which knows no x either and
//	                                           refuses such a session, whose end it
//	                                           is, until that is forgotten
//	grant       all                            what the token is good for. shared is not in
//	                                           f1b7ae5 and v0.1.0, nor renewal in 058ce80 and before,
//	                                           which refuse such a grant
//	renewal     all                            which tokens come of it, and for how long. Not in 058ce80
//	                                           and before, which renew nothing, and take its entry among
//	                                           the grants for that of an agent without a token: they
//	                                           keep the connection
//	connection  all but those of x             whose, for where, until when
//	            x: refreshed refresh_exp       nothing: [RefreshStatus]. Who ignores it uses the
//	            refused refused_for            access token to its end, and refreshes nothing.
//	            tried_again narrowed sub       f1b7ae5 knows no x and refuses such a connection
//	            x: bound                       where else the token goes (O-2). Not in 058ce80 and
//	                                           before, which bind it to its destination alone
//	refresh     all                            when there may be another call. Not in f1b7ae5 and
//	                                           v0.1.0, which call nobody
//	revocation  all                            which token the provider is to revoke. Not in 998e869 and
//	                                           before, which revoke nothing there, and leave it
//	hosts       hosts                          whom operators have suspended. Not in
//	                                           f1b7ae5, which does not look there
//	            by at                          shown to people
//	issuer      all                            where users and secrets are sent. Not in
//	                                           f1b7ae5, which wants endpoints written
//
//	provider    all                            where users and secrets are sent. Not in
//	                                           058ce80 and before, which know the providers of
//	                                           files only, and leave it
//
// The index of refresh tokens that end decides nothing and may be lost; an athd
// that does not know it enters nothing, and lets them end while nobody calls.
//
// Owners, which have no x, decide nothing and may be lost, indexes of users, and
// marks of their ends are keys of their own that no athd before them knows. A connection that such an athd made has no owner: it is
// found by the index of its agent's and by its grants, and enters the others when
// an athd that knows them sees it used or puts a grant. Such an athd does not heed
// the mark of a user's end, deletes no owner, and lets owner and index end before a
// connection whose life it has extended, which is then found by its grants too.
//
// Marks that a session ended (…:ended), counts of what waits or is open
// (ath:{pending}:…, …:sessions) and the canary are keys of their own that f1b7ae5
// does not know: it counts nothing, and would go on with a session that somebody
// put back from before its end.
//
// testdata/records holds every kind as earlier athd wrote it, by commit or
// release; each must load. A release adds its own: see TestWriteFixture.
//
// # Replicas of Redis
//
// Nobody is read from who is no master. Outside of a cluster, where a replica
// redirects, each batch ends with a WAIT for no replicas, which only a master
// answers with a number: an answer that a replica gave, or a server that was
// made one while the connection was open, does not count, all connections to it
// end, and what the address leads to now is asked instead. An address that has
// moved to another server, though the old one still takes itself for a master,
// is noticed within a second; see docs/threat-model.md for what that leaves.
//
// A failover to a replica loses what it had not heard
// of: up to about a second of writes, of which each was acknowledged. A lost
// registration, session or grant is one that must be made again. A lost
// revocation would give access back, so that [Config].WaitReplicas makes
// [Store.Revoke], every change and removal of an agent or a run-time provider, and each step of a refresh
// of a user's token wait until that many replicas have it. What remains is a failover to a replica that was not
// among them: only as many as there are is sure, and then each of them must be
// up. A jti that is lost lets one attestation be used a second time.
//
// # Changes
//
// Each Store follows what any other takes away or changes: agents, grants that
// are revoked, connections that end, run-time providers. It subscribes to the channel
// ath:changes:<database> over one connection of its own, and compares a log in
// Redis each second, so that a lost message loses nothing. [Store.Watch] hands
// the changes out, and is where the contract stands; [Store.Feed] says how it
// does. Decrypted records that end are forgotten by it. No decision waits for it
// or relies on it.
//
// # What the server must allow
//
// An ACL user needs the keys ath:*, the channels ath:* and the commands PING, GET, MGET, SET, DEL,
// EXISTS, PTTL, PEXPIRE, ZADD, ZREM, ZREMRANGEBYSCORE, ZCARD, ZRANGE, SCAN (to
// list agents and connections; it tells the names of all keys), EVAL, EVALSHA,
// HELLO, CLIENT SETNAME, ROLE, WAIT, PUBLISH and SUBSCRIBE; where the URL names a
// database SELECT; in a cluster CLUSTER SLOTS and COMMAND. [Examine] tries each,
// and says which are missing. Without PUBLISH, SUBSCRIBE or the channels, changes are found
// by comparing alone, within about a second; [Feed].Forbidden says so.
// Without ROLE and WAIT, as before athd asked for them, a master is told from a
// replica by a DEL of nothing, which a replica that takes writes accepts;
// [Health].Unproven says so. The Sentinels' own user needs
// SENTINEL GET-MASTER-ADDR-BY-NAME, SENTINEL SENTINELS, ROLE, PING, HELLO,
// CLIENT SETNAME and SUBSCRIBE to every channel. With INFO and CONFIG GET,
// [Store.Ready] can also tell whether the server persists, whether it may evict
// and how full it is, and an address that leads to another server is noticed
// within a second.
//
// A server with an append-only file must leave its default user all rights, be
// it off: Redis 7.0 replays the file as that user, and drops what scripts wrote
// where it may not ("user default off ~* &* +@all").
package tokenstore
