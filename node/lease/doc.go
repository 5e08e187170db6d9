// Package lease is the leader's clockwork of leases: it says which have run out, which are to be checkpointed, and
// whether a keep-alive may be confirmed. It is a value machine: time comes in as an argument, nothing is proposed from
// here, and every member feeds it what its store has applied, so that it can begin to count the moment it leads.
//
// # Never early
//
// Every decision rests on four facts of the world around, which the caller keeps:
//
//  1. now is a monotonic clock of this process, not faster than real time, read when the call is made and after
//     whatever the call is about has happened: the arrival of a keep-alive, the application of an entry.
//  2. Renew is called for a request only once a read round that began after its arrival has confirmed this member's
//     leadership, and its store holds what was committed then.
//  3. Reign is called once the no-op of the term is applied and Changed has told all that lies before it.
//  4. What Work hands out is proposed by this member alone, is never forwarded, and does nothing unless its entry is of
//     the term that decided it; nor does it touch a lease that was granted by an entry which the deciding member had
//     not applied when Work was called. A lease's ID can be revoked and granted anew while a decision about its
//     forerunner waits to be appended, and only that bound keeps the two apart.
//
// Claim: a lease with a whole time of TTL that was confirmed for a request of real time q, or granted by an entry
// committed at q, is never expired by a decision taken before q+TTL.
//
// Within one reign the expiry is the kept time of the renewal plus TTL, and kept time never runs faster than real time
// (below). A renewal that is confirmed after an expiry was handed out would break the claim: such a lease answers
// ErrExpiring until its fate is known.
//
// Across reigns: let the next leader begin to count at s. By (2) the old one still had a quorum after q, so s > q, and a
// lease whose Remaining is 0 in the log before the new no-op lives until s+TTL. If Remaining is r, the checkpoint that set
// it was decided at some d < s with r at least what was left, rounded up: d+r ≥ q+TTL for whatever was confirmed before
// d, and s+r is later. What remains is a renewal that is confirmed after d. Hence Renew confirms nothing while the store
// holds a Remaining, nor while a checkpoint that would set one is handed out and its fate is not known: the lease
// answers ErrPending, a checkpoint of 0 goes out, and once that is applied no entry of this term or an older one
// can bring the smaller number back. A leader that was deposed without knowing it confirms by (2) only what came
// before s, and its checkpoints and expiries fall to the fence.
//
// A request that was confirmed in one term and renewed in a later one of the same member is covered as well: the later
// term began after q.
//
// # Kept time
//
// Leases are counted in kept time, which is the caller's time without its pauses. When two calls are further apart than
// Options.Pause, the process stood still (or so slow that it is the same), and keep-alives lie unread in its
// sockets. The gap then does not count, and kept time stands still for one Pause more, in which nothing expires, so
// that every client which kept its lease alive is heard. A reign begins with the same stillness: clients first have to find
// the new leader. A reign could have been begun anew instead, as after an election; that would give every lease its
// whole TTL for each pause, and a keeper with many leases would be busy with it just when it has to catch up.
// The price: a process that is always slower than Pause expires nothing. It does not stay leader either.
//
// # Late by how much
//
// With a leader that is called in time a lease is handed out when it has run out and its grain is over, unless more than
// Options.InFlight wait for their fate, or more went out lately than Options.Every allows. A change of leader makes it
// later by at most Options.Checkpoint, the checkpoint's way through the log and one Pause. A lease that is renewed more
// often than Options.Checkpoint causes no checkpoints, unless they are behind.
package lease
