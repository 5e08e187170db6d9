package lease

import "time"

// Renew starts the lease's whole time anew and returns it, in seconds. The caller calls it only once leadership
// is confirmed by a read round that began after the request arrived, and answers the client by what it says: ErrNotFound
// is final, ErrNotLeader sends the request on, ErrExpiring and ErrPending have it wait. A lease that has run out can be
// renewed until its expiry is handed out.
func (k *Keeper) Renew(id int64, now time.Duration) (ttl int64, err error) {
	t := k.read(now)
	l, err := k.find(id)
	switch {
	case err != nil:
		return 0, err
	case l.is(expiring):
		return 0, ErrExpiring
	}
	// Even if it cannot be confirmed yet: living longer than was said is no harm, and it must not run out while it waits.
	// Its place in the queue stays too early, and Work moves it when it comes to that.
	l.begin(t, seconds(l.TTL), k.opt.Checkpoint)
	if l.Remaining > 0 || l.is(flying) {
		l.state |= renewed
		k.askUndo(l)
		return 0, ErrPending
	}
	return l.TTL, nil
}

// Left returns for how many seconds the lease was granted, and how many of them are left: truncated, as etcd does, and
// never below 0. The error is ErrNotFound or ErrNotLeader. Unlike Renew it changes nothing and needs no confirmation for
// the lease's sake.
func (k *Keeper) Left(id int64, now time.Duration) (granted, left int64, err error) {
	t := k.read(now)
	l, err := k.find(id)
	if err != nil {
		return 0, 0, err
	}
	return l.TTL, int64(max(l.expiry-t, 0) / time.Second), nil
}

func (k *Keeper) find(id int64) (*lease, error) {
	if k.term == 0 {
		return nil, ErrNotLeader
	}
	l := k.leases[id]
	if l == nil {
		return nil, ErrNotFound
	}
	return l, nil
}
