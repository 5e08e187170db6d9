package lease

import "time"

// queue is a binary heap of leases by the time at which each wants to be looked at, then by ID, so that its order does
// not depend on how it was built. A lease in it knows its place.
type queue []place

type place struct {
	wake time.Duration
	l    *lease
}

func (p place) before(o place) bool {
	return p.wake < o.wake || p.wake == o.wake && p.l.ID < o.l.ID
}

// absent is the place of a lease that is not in the queue.
const absent = -1

func (q *queue) push(l *lease, wake time.Duration) {
	*q = append(*q, place{})
	q.up(len(*q)-1, place{wake, l})
}

// remove takes out the lease at place i.
func (q *queue) remove(i int) {
	h := *q
	h[i].l.at = absent
	last := h[len(h)-1]
	h[len(h)-1] = place{}
	*q = h[:len(h)-1]
	if i < len(*q) {
		q.settle(i, last)
	}
}

// settle puts p where it belongs, beginning at the hole i.
func (q *queue) settle(i int, p place) {
	if i > 0 && p.before((*q)[(i-1)/2]) {
		q.up(i, p)
	} else {
		q.down(i, p)
	}
}

func (q *queue) up(i int, p place) {
	for i > 0 && p.before((*q)[(i-1)/2]) {
		q.put(i, (*q)[(i-1)/2])
		i = (i - 1) / 2
	}
	q.put(i, p)
}

func (q *queue) down(i int, p place) {
	h := *q
	for {
		child := 2*i + 1
		if child >= len(h) {
			break
		}
		if child+1 < len(h) && h[child+1].before(h[child]) {
			child++
		}
		if !h[child].before(p) {
			break
		}
		q.put(i, h[child])
		i = child
	}
	q.put(i, p)
}

func (q *queue) put(i int, p place) {
	(*q)[i] = p
	p.l.at = int32(i)
}

// order makes a heap of what was appended in any order.
func (q *queue) order() {
	for i := range *q {
		(*q)[i].l.at = int32(i)
	}
	for i := len(*q)/2 - 1; i >= 0; i-- {
		q.down(i, (*q)[i])
	}
}
